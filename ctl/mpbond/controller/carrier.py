"""The sockets that handshake messages go out by: from the bond's port, over the link
and from the address that a way names. What comes in comes through rx's ring instead."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress

from mpbond.errors import BondError
from mpbond.handshake import Way

_IP_PKTINFO = 8  # linux/in.h; Python has no name for it


class Carrier:
    """Holds UDP port `port` of both families. IPv6 may be switched off on the host."""

    def __init__(self, port: int) -> None:
        self._sockets: dict[int, socket.socket] = {}
        try:
            self._open(4, socket.AF_INET, port)
            if socket.has_ipv6:
                self._open(6, socket.AF_INET6, port)
        except BaseException:
            self.close()
            raise

    def _open(self, version: int, family: socket.AddressFamily, port: int) -> None:
        try:
            opened = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        except OSError:
            if version == 6:
                return
            raise
        self._sockets[version] = opened
        if version == 6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # Nothing is read from it: what lands here came over a link that is not ours.
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
        try:
            opened.bind(("", port))
        except OSError as error:
            raise BondError(f"UDP port {port}: {error.strerror}; give node.port another number") from error

    def send(self, way: Way, data: bytes) -> bool:
        """False where the host cannot send it now: its link is down, say."""
        found = self._sockets.get(way.remote.version)
        if found is None:
            return False
        if way.remote.version == 4:
            info = struct.pack("=I4s4s", way.ifindex, way.local.packed, bytes(4))
            control = (socket.IPPROTO_IP, _IP_PKTINFO, info)
            to: tuple[str, int] | tuple[str, int, int, int] = (str(way.remote), way.port)
        else:
            info = struct.pack("=16sI", way.local.packed, way.ifindex)
            control = (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, info)
            to = (str(way.remote), way.port, 0, way.ifindex if way.remote.is_link_local else 0)
        with suppress(OSError):
            found.sendmsg([data], [control], 0, to)
            return True
        return False

    def close(self) -> None:
        for found in self._sockets.values():
            found.close()
