"""Netlink events: a link's state at once, anything else as "look again".

A raw socket instead of pyroute2's monitor: a carrier that goes has to reach the
kernel's maps within 10 ms, and the two numbers needed stand at fixed places of
RTM_NEWLINK (rtnetlink(7), struct ifinfomsg).
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

_RTM_NEWLINK, _RTM_DELLINK = 16, 17
_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400  # links, IPv4/6 addresses and routes
_IFF_UP, _IFF_LOWER_UP = 0x1, 0x10000
_AF_BRIDGE = 7
_HEADER = struct.Struct("=IHHII")
_IFINFO = struct.Struct("=BxHiII")
_LINK_SIZE = _HEADER.size + _IFINFO.size
_RECEIVE_BUFFER = 4 << 20


@dataclass(frozen=True, slots=True)
class LinkEvent:
    ifindex: int
    up: bool


@dataclass(frozen=True, slots=True)
class ChangeEvent:
    """Something that paths may depend on is different now."""


Event = LinkEvent | ChangeEvent


def parse(data: bytes) -> Iterator[Event]:
    """The events of one datagram.

    A bridge tells of its ports in messages of their own: one that leaves is said to
    be deleted, though the link is there and may be up.
    """
    offset = 0
    changed = False
    while offset + _HEADER.size <= len(data):
        length, kind, _, _, _ = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size:
            break
        if kind in (_RTM_NEWLINK, _RTM_DELLINK) and min(length, len(data) - offset) >= _LINK_SIZE:
            family, _, ifindex, flags, _ = _IFINFO.unpack_from(data, offset + _HEADER.size)
            up = kind == _RTM_NEWLINK and bool(flags & _IFF_UP) and bool(flags & _IFF_LOWER_UP)
            if family != _AF_BRIDGE:
                yield LinkEvent(ifindex, up)
        changed = True
        offset += (length + 3) & ~3
    if changed:
        yield ChangeEvent()


class Watch:
    """Events of this network namespace, one thread reading."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        self._socket.bind((0, _GROUPS))
        self._stop = os.eventfd(0)

    def events(self, timeout_s: float | None = None) -> list[Event]:
        """Waits for the next ones; [] after the time-out or stop()."""
        ready, _, _ = select.select([self._socket.fileno(), self._stop], [], [], timeout_s)
        if self._socket.fileno() not in ready:
            return []
        try:
            return list(parse(self._socket.recv(1 << 16)))
        except OSError as error:
            if error.errno == errno.ENOBUFS:  # some were lost: look at everything
                return [ChangeEvent()]
            raise

    def stop(self) -> None:
        os.eventfd_write(self._stop, 1)

    def close(self) -> None:
        self._socket.close()
        os.close(self._stop)
