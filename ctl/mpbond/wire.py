"""The outer header of a path, ready made: what tx copies in front of a packet. Pure.

The layout is bpf/wire.h's; lengths, TOS and the IPv4 checksum are left for tx.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from mpbond.config.model import Address

VERSION = 1
HEADER_LEN = 16
PROBE_LEN = 40
TYPE_DATA, TYPE_PROBE, TYPE_ANSWER, TYPE_HANDSHAKE, TYPE_CONTROL = 0, 1, 2, 3, 4
# The share of a probe's bytes where damage is seen, and on which path: the session
# number, were it damaged, would be nobody's, and the path number another path's.
_UNTRACED = 8 + 1
DAMAGE_SEEN = 1 - _UNTRACED / (HEADER_LEN + PROBE_LEN)

_DONT_FRAGMENT = 0x4000
_TTL = 64
_UDP = 17


@dataclass(frozen=True, slots=True)
class Template:
    """`checksum`: the IPv4 header's 16-bit words in memory order, summed."""

    header: bytes
    checksum: int


def bond_header(
    session: bytes, path_number: int, *, kind: int = TYPE_DATA, sequence: int = 0, connection: int = 0
) -> bytes:
    return struct.pack("!BBBBI8s", VERSION << 4 | kind, 0, connection, path_number, sequence, session)


def type_of(message: bytes) -> int:
    """Of what begins with a bond header."""
    return message[0] & 0xF


def template(local: Address, remote: Address, ports: tuple[int, int], number: int) -> Template:
    """IP + UDP + bond header from `local` to `remote`; `ports` = (source, destination).
    The session number, which changes, is left for tx too.

    UDP goes without a checksum, over IPv6 too (RFC 6936: the inner packet has
    its own, and a tunnel end that checks the session number is robust).
    """
    udp = struct.pack("!HHHH", *ports, 0, 0) + bond_header(bytes(8), number)
    if isinstance(local, IPv4Address) and isinstance(remote, IPv4Address):
        ip = struct.pack(
            "!BBHHHBBH4s4s", 0x45, 0, 0, 0, _DONT_FRAGMENT, _TTL, _UDP, 0, local.packed, remote.packed
        )
        return Template(ip + udp, sum(struct.unpack("=10H", ip)))
    if isinstance(local, IPv6Address) and isinstance(remote, IPv6Address):
        ip = struct.pack("!IHBB16s16s", 6 << 28, 0, _UDP, _TTL, local.packed, remote.packed)
        return Template(ip + udp, 0)
    raise ValueError(f"{local} and {remote} are of different families")
