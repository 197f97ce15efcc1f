"""Real devices for what a test run cannot show: a network namespace without a name.

    app -- mp0 ==(veth)== mp0-tx     wan0 ==(veth)== isp0     tun0 -- file descriptor
            ^ capture                 ^ rx_tc         ^ inject, capture

wan1 and isp1, wan2 and isp2 are two more such links, without rx.

It goes with the last file descriptor, whatever happens to the process.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_interface
from pathlib import Path

from pyroute2 import IPRoute

from mpbond.kernel import device, tc
from mpbond.kernel.dataplane import Dataplane
from mpbond.layout import far_name

_CLONE_NEWNET = 0x40000000
_ETH_P_ALL = 3
_SOL_PACKET, _PACKET_IGNORE_OUTGOING = 263, 23
_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_libc = ctypes.CDLL(None, use_errno=True)

PATIENCE_S = 5.0
MTU = 65_535  # as large as veth goes: for packets that just fit IP
BOND = "mp0"
LINKS = {"wan0": "isp0", "wan1": "isp1", "wan2": "isp2"}


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Spins: what is waited for is a softirq on this very machine."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        os.sched_yield()


def _checked(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class Lab:
    """The namespace; its devices work only for who has entered()."""

    def __init__(self) -> None:
        self._home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        _checked(_libc.unshare(_CLONE_NEWNET))
        try:
            self._inside = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
            self._build()
        finally:
            _checked(_libc.setns(self._home, _CLONE_NEWNET))

    def _build(self) -> None:
        with IPRoute() as ipr:
            ipr.link("set", index=1, state="up")
            device.create(ipr, BOND, MTU)
            for link, isp in LINKS.items():
                ipr.link("add", ifname=link, kind="veth", mtu=MTU, peer={"ifname": isp, "mtu": MTU})
            self.tun = self._make_tun("tun0")
            self.ifindex = {
                name: device.ifindex_of(ipr, name) or 0
                for name in (BOND, far_name(BOND), *LINKS, *LINKS.values(), "tun0")
            }
            for name in (*LINKS, *LINKS.values(), "tun0"):
                for key in ("accept_ra", "accept_dad", "addr_gen_mode"):
                    Path(f"/proc/sys/net/ipv6/conf/{name}/{key}").write_text(f"{int(key[-1] == 'e')}\n")
                ipr.link("set", index=self.ifindex[name], state="up")
            device.add_address(ipr, BOND, ip_interface("10.9.9.9/8"))
            device.bring_up(ipr, BOND)
            self.mac = {
                name: bytes.fromhex(
                    next(iter(ipr.get_links(index))).get_attr("IFLA_ADDRESS").replace(":", "")
                )
                for name, index in self.ifindex.items()
                if name != "tun0"
            }
        self.sockets = {name: self._packet_socket(name) for name in (BOND, *LINKS.values())}

    @staticmethod
    def _make_tun(name: str) -> int:
        tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH14x", name.encode(), _IFF_TUN | _IFF_NO_PI))
        return tun

    @staticmethod
    def _packet_socket(name: str) -> socket.socket:
        found = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK)
        found.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        found.bind((name, _ETH_P_ALL))
        return found

    @property
    def mp0(self) -> int:
        return self.ifindex[BOND]

    @property
    def far(self) -> int:
        return self.ifindex[far_name(BOND)]

    def attach(self, plane: Dataplane) -> None:
        """The programs where the controller would put them; rx on both links."""
        programs = plane.programs
        with self.entered(), IPRoute() as ipr:
            for ifindex in (self.mp0, self.far, self.ifindex["wan0"], self.ifindex["tun0"]):
                tc.ensure_clsact(ipr, ifindex)
            tc.attach(ipr, self.far, tc.INGRESS, 1, programs["probe"], BOND)
            tc.attach(ipr, self.far, tc.INGRESS, 2, programs["tx"], BOND)
            tc.attach(ipr, self.mp0, tc.EGRESS, 2, programs["tx"], BOND)
            tc.attach(ipr, self.ifindex["wan0"], tc.INGRESS, 1, programs["rx_tc"], BOND)
            tc.attach(ipr, self.ifindex["tun0"], tc.INGRESS, 1, programs["rx_l3"], BOND)

    def add_neighbour(self, address: str, mac: str, ifname: str = "wan0") -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with self.entered(), IPRoute() as ipr:
            ipr.neigh(
                "replace", dst=address, lladdr=mac, ifindex=self.ifindex[ifname], family=family, state=128
            )

    @contextmanager
    def entered(self) -> Iterator[None]:
        _checked(_libc.setns(self._inside, _CLONE_NEWNET))
        try:
            yield
        finally:
            _checked(_libc.setns(self._home, _CLONE_NEWNET))

    def drain(self) -> None:
        """Forgets what earlier tests left in the queues."""
        for found in self.sockets.values():
            while select.select([found], [], [], 0)[0]:
                found.recv(1 << 17)
        while select.select([self.tun], [], [], 0)[0]:
            os.read(self.tun, 1 << 17)

    def receive(self, name: str) -> bytes:
        """The next frame that came in on a device ("tun0": went out of it)."""
        source = self.tun if name == "tun0" else self.sockets[name]
        ready = select.select([source], [], [], PATIENCE_S)[0]
        assert ready, f"nothing came to {name}"
        return os.read(self.tun, 1 << 17) if name == "tun0" else self.sockets[name].recv(1 << 17)

    def nothing_more(self) -> bool:
        """Has everything been received that came to any device?"""
        sources: list[socket.socket | int] = [*self.sockets.values(), self.tun]
        return not select.select(sources, [], [], 0)[0]

    def inject(self, name: str, frame: bytes) -> None:
        """Puts a frame on the wire from a device ("tun0": lets a packet come in on it)."""
        if name == "tun0":
            os.write(self.tun, frame)
            return
        try:
            self.sockets[name].send(frame)
        except OSError as error:
            if error.errno != errno.ENOBUFS:  # dropped by tx at once
                raise

    def close(self) -> None:
        for found in self.sockets.values():
            found.close()
        for fd in (self.tun, self._inside, self._home):
            os.close(fd)
