"""UDP source ports of the node's further connections, held so that nobody else gets them.

One for each connection number, the same on every path and to every peer. What comes in
to them passes rx first; the sockets themselves read nothing.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence

# Attempts at one port: the one of IPv4 may be somebody's over IPv6.
_TRIES = 16


class SourcePorts:
    """`kept`: those that an earlier controller had; what somebody has taken meanwhile is
    replaced."""

    def __init__(self, kept: Sequence[int] = ()) -> None:
        self._sockets: list[list[socket.socket]] = []
        self.ports: list[int] = []
        for port in kept:
            if not (self._hold(port) or self._hold(0)):
                break

    def reserve(self, count: int) -> bool:
        """Sees to it that there are `count` of them. False where the host has no more."""
        while len(self.ports) < count:
            if not self._hold(0):
                return False
        return True

    def _hold(self, wanted: int) -> bool:
        """This port, or with 0 any, of both families."""
        for _ in range(1 if wanted else _TRIES):
            opened: list[socket.socket] = []
            try:
                opened.append(_bound(socket.AF_INET, wanted))
                port = int(opened[0].getsockname()[1])
                if socket.has_ipv6 and _ipv6_works():
                    opened.append(_bound(socket.AF_INET6, port))
            except OSError:
                for one in opened:
                    one.close()
                continue
            self._sockets.append(opened)
            self.ports.append(port)
            return True
        return False

    def close(self) -> None:
        for opened in self._sockets:
            for one in opened:
                one.close()


def _ipv6_works() -> bool:
    """It may be switched off on the host."""
    try:
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).close()
    except OSError:
        return False
    return True


def _bound(family: socket.AddressFamily, port: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
        made.bind(("", port))
    except OSError:
        made.close()
        raise
    return made
