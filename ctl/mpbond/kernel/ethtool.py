"""What is asked of a driver: its name, GRO on or off, features by name."""

from __future__ import annotations

import ctypes
import fcntl
import socket
import struct

_SIOCETHTOOL = 0x8946
_GSET = 0x01
_GDRVINFO = 0x03
_SGRO = 0x2C
_GSTRINGS = 0x1B
_GSSET_INFO = 0x37
_SFEATURES = 0x3B
_SS_FEATURES = 4
_GSTRING_LEN = 32


def _call(ifname: str, buffer: ctypes.Array[ctypes.c_char]) -> None:
    request = struct.pack("16sQ", ifname.encode(), ctypes.addressof(buffer)).ljust(40, b"\0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        fcntl.ioctl(handle.fileno(), _SIOCETHTOOL, request)


def driver(ifname: str) -> str:
    """The driver's name; "" where it does not say."""
    buffer = ctypes.create_string_buffer(struct.pack("I", _GDRVINFO).ljust(196, b"\0"), 196)
    try:
        _call(ifname, buffer)
    except OSError:
        return ""
    return buffer.raw[4:36].split(b"\0")[0].decode(errors="replace")


# What they say of their speed is made up.
_NO_WIRE = frozenset({"veth", "tun"})
_NO_SPEED = (0, 0xFFFF, 0xFFFFFFFF)


def speed_mbit(ifname: str) -> float | None:
    """What the link's device is capable of; None where it does not say."""
    buffer = ctypes.create_string_buffer(struct.pack("I", _GSET).ljust(44, b"\0"), 44)
    try:
        _call(ifname, buffer)
    except OSError:
        return None
    low, high = struct.unpack_from("H", buffer.raw, 12)[0], struct.unpack_from("H", buffer.raw, 28)[0]
    speed = low | high << 16
    return None if speed in _NO_SPEED or driver(ifname) in _NO_WIRE else float(speed)


def set_gro(ifname: str, on: bool) -> None:
    """Raises OSError where the device has no GRO to switch."""
    _call(ifname, ctypes.create_string_buffer(struct.pack("II", _SGRO, int(on)), 8))


def _feature_names(ifname: str) -> list[str]:
    """Names of all features, in the order of their bits: these differ by kernel."""
    info = ctypes.create_string_buffer(struct.pack("=IIQI", _GSSET_INFO, 0, 1 << _SS_FEATURES, 0), 20)
    _call(ifname, info)
    count = struct.unpack_from("=I", info.raw, 16)[0]
    head = struct.pack("=III", _GSTRINGS, _SS_FEATURES, count)
    strings = ctypes.create_string_buffer(head, len(head) + count * _GSTRING_LEN)
    _call(ifname, strings)
    raw = strings.raw[len(head) :]
    return [raw[at : at + _GSTRING_LEN].split(b"\0")[0].decode() for at in range(0, len(raw), _GSTRING_LEN)]


def turn_features(ifname: str, names: frozenset[str], *, on: bool) -> None:
    """As `ethtool -K IFNAME NAME on|off`; names that this kernel lacks are left out."""
    known = _feature_names(ifname)
    blocks = [0] * ((len(known) + 31) // 32)
    for bit, name in enumerate(known):
        if name in names:
            blocks[bit // 32] |= 1 << (bit % 32)
    body = b"".join(struct.pack("=II", valid, valid if on else 0) for valid in blocks)
    request = struct.pack("=II", _SFEATURES, len(blocks)) + body
    _call(ifname, ctypes.create_string_buffer(request, len(request)))
