"""Two things asked of a driver: what it is, and GRO on or off."""

from __future__ import annotations

import ctypes
import fcntl
import socket
import struct

_SIOCETHTOOL = 0x8946
_GDRVINFO = 0x03
_SGRO = 0x2C


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


def set_gro(ifname: str, on: bool) -> None:
    """Raises OSError where the device has no GRO to switch."""
    _call(ifname, ctypes.create_string_buffer(struct.pack("II", _SGRO, int(on)), 8))
