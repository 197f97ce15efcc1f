"""Which link every data packet of a bond left by, in order. Run in a lab's namespace.

`capture.py` watches the whole namespace until SIGTERM and prints a JSON list of
[link, inner source port] of each outgoing data packet over IPv4; it says `ready`
first. `capture.py send DEST PORTS ROUNDS SIZE` sends UDP packets of `SIZE` bytes
from as many ports, all of them once a round; to port 5999, or one that follows.
`capture.py gaps` watches what comes in on mp0 and prints the longest time, in ms by the
kernel's stamps, between two TCP packets with data over IPv4, of those that came after
the first second. `capture.py connections` watches as the first does and prints a list of
all [link, outer source port, connection number, packet type, inner source port] there
were, each once; the last is 0 for what is not data.
"""

from __future__ import annotations

import itertools
import json
import select
import signal
import socket
import struct
import sys

_ETH_P_ALL = 3
_SO_RCVBUFFORCE = 33
_SO_TIMESTAMPNS = 35
_BOND_PORT = 9944
_FIRST_PORT = 20_000
# Ethernet and outer IPv4, then UDP, the bond header, inner IPv4.
_UDP, _BOND, _INNER = 34, 42, 58
_INNER_UDP = _INNER + 20


def parse(frame: bytes) -> int | None:
    """The inner source port of a data packet; None of anything else."""
    if len(frame) < _INNER_UDP + 8 or frame[12:14] != b"\x08\x00" or frame[23] != socket.IPPROTO_UDP:
        return None
    if struct.unpack_from("!H", frame, _UDP + 2)[0] != _BOND_PORT or frame[_BOND] & 0xF != 0:
        return None
    port: int = struct.unpack_from("!H", frame, _INNER_UDP)[0]
    return port


def capture() -> None:
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 256 << 20)
    print("ready", flush=True)
    seen: list[tuple[str, int]] = []
    while select.select([sock], [], [], 0 if stopped else 0.1)[0] or not stopped:
        try:
            frame, (ifname, _, kind, *_) = sock.recvfrom(128, socket.MSG_DONTWAIT)
        except BlockingIOError:
            continue
        port = parse(frame) if kind == socket.PACKET_OUTGOING and ifname.startswith("eth") else None
        if port is not None:
            seen.append((ifname, port))
    print(json.dumps(seen), flush=True)


def connection_of(frame: bytes) -> tuple[int, int, int, int] | None:
    """Outer source port, connection number, type, inner source port of a packet of the
    bond over IPv4."""
    if len(frame) < _BOND + 16 or frame[12:14] != b"\x08\x00" or frame[23] != socket.IPPROTO_UDP:
        return None
    source, dest = struct.unpack_from("!HH", frame, _UDP)
    kind = frame[_BOND] & 0xF
    # Answers come back to the port that the probe left by.
    if dest != _BOND_PORT and not (source == _BOND_PORT and kind == 2):
        return None
    return source, frame[_BOND + 2], kind, parse(frame) or 0


def connections() -> None:
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 256 << 20)
    print("ready", flush=True)
    seen: set[tuple[str, int, int, int, int]] = set()
    while select.select([sock], [], [], 0 if stopped else 0.1)[0] or not stopped:
        try:
            frame, (ifname, _, kind, *_) = sock.recvfrom(128, socket.MSG_DONTWAIT)
        except BlockingIOError:
            continue
        found = connection_of(frame) if kind == socket.PACKET_OUTGOING and ifname.startswith("eth") else None
        if found is not None:
            seen.add((ifname, *found))
    print(json.dumps(sorted(seen)), flush=True)


def gaps() -> None:
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 64 << 20)
    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    sock.bind(("mp0", _ETH_P_ALL))
    print("ready", flush=True)
    stamps: list[int] = []
    while select.select([sock], [], [], 0 if stopped else 0.1)[0] or not stopped:
        try:
            frame, control, _, (_, _, kind, *_) = sock.recvmsg(128, 64, socket.MSG_DONTWAIT)
        except BlockingIOError:
            continue
        is_tcp = frame[12:14] == b"\x08\x00" and frame[23] == socket.IPPROTO_TCP
        if kind != socket.PACKET_OUTGOING and is_tcp and struct.unpack_from("!H", frame, 16)[0] > 100:
            seconds, nanos = struct.unpack_from("=qq", control[0][2])
            stamps.append(seconds * 1_000_000_000 + nanos)
    late = [stamp for stamp in stamps if stamp > stamps[0] + 1_000_000_000]
    print(json.dumps(max(after - before for before, after in itertools.pairwise(late)) / 1e6), flush=True)


def send(dest: str, ports: int, rounds: int, size: int, to: int = 5999) -> None:
    for _ in range(rounds):
        for port in range(_FIRST_PORT, _FIRST_PORT + ports):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.bind(("", port))
                sock.sendto(bytes(size), (dest, to))


if __name__ == "__main__":
    if sys.argv[1:2] == ["send"]:
        send(sys.argv[2], *map(int, sys.argv[3:7]))
    elif sys.argv[1:2] == ["gaps"]:
        gaps()
    elif sys.argv[1:2] == ["connections"]:
        connections()
    else:
        capture()
