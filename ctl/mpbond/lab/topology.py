"""Topologies as data: hosts, wires, addresses. Pure; netns.py makes them real.

Three kinds of wire. A plain one is a veth pair, as fast as the machine. A guarded
one has a silent middle that can drop, lose, shape and cut without either end
losing its carrier, as a provider's network does. An emulated one is a guarded one
whose middle can also delay, reorder and damage; it sees every packet by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class End:
    """One end of a wire: a host's interface and its addresses (with prefix length)."""

    host: str
    ifname: str
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wire:
    """Two ends; `guarded` and `emulated` (on top of guarded) as above; `rate_mbit`
    None = as fast as it goes."""

    name: str
    a: End
    b: End
    guarded: bool = True
    mtu: int = 1500
    rate_mbit: float | None = None
    emulated: bool = False

    def __post_init__(self) -> None:
        if self.emulated and not self.guarded:
            raise ValueError(f"{self.name}: an emulated wire is a guarded one")


@dataclass(frozen=True, slots=True)
class Host:
    """`routes`: (prefix, gateway, interface, metric); `forward`: it is a router."""

    name: str
    routes: tuple[tuple[str, str, str, int], ...] = ()
    forward: bool = False


@dataclass(frozen=True, slots=True)
class Topology:
    hosts: tuple[Host, ...]
    wires: tuple[Wire, ...] = field(default=())

    def wire(self, name: str) -> Wire:
        return next(wire for wire in self.wires if wire.name == name)

    def with_wires(self, **changes: object) -> Topology:
        """The same with every wire changed: rate_mbit=100, guarded=False, ..."""
        return replace(self, wires=tuple(replace(wire, **changes) for wire in self.wires))  # type: ignore[arg-type]

    def emulated(self) -> Topology:
        """The same with every guarded wire emulated."""
        return replace(self, wires=tuple(replace(wire, emulated=wire.guarded) for wire in self.wires))


def link_address(link: int, end: int, version: int = 4) -> str:
    """Address of an end (1: a, 2: b) of the n-th link between two bonded hosts."""
    return f"10.77.{link}.{end}" if version == 4 else f"fd77:{link}::{end}"


def _link(index: int, guarded: bool) -> Wire:
    ends = [
        End(host, f"eth{index}", (f"{link_address(index, n)}/24", f"{link_address(index, n, 6)}/64"))
        for n, host in ((1, "a"), (2, "b"))
    ]
    return Wire(f"eth{index}", ends[0], ends[1], guarded)


def two_hosts(links: int = 2, *, guarded: bool = True) -> Topology:
    """a and b, joined by eth1, eth2, ...: 10.77.N.1 and .2, fd77:N::1 and ::2."""
    return Topology((Host("a"), Host("b")), tuple(_link(index, guarded) for index in range(1, links + 1)))


def _via_router(index: int, end: int, host: str, router: str) -> Wire:
    """One of the two wires of a routed path: 10.78.<index><end>.0/24."""
    net = index * 10 + end
    return Wire(
        f"{host}{index}",
        End(host, f"eth{index}", (f"10.78.{net}.1/24", f"fd78:{net}::1/64")),
        End(router, f"{host}{index}", (f"10.78.{net}.254/24", f"fd78:{net}::fe/64")),
    )


def routed_hosts(links: int = 2) -> Topology:
    """a and b, each link through a router of its own, each with a default route:
    several default routes on a host, and no policy routing."""
    routers = tuple(Host(f"r{index}", forward=True) for index in range(1, links + 1))
    wires: list[Wire] = []
    routes: dict[str, list[tuple[str, str, str, int]]] = {"a": [], "b": []}
    for index in range(1, links + 1):
        for end, host in ((1, "a"), (2, "b")):
            net = index * 10 + end
            wires.append(_via_router(index, end, host, f"r{index}"))
            routes[host].append(("0.0.0.0/0", f"10.78.{net}.254", f"eth{index}", index))
            routes[host].append(("::/0", f"fd78:{net}::fe", f"eth{index}", index))
    hosts = (Host("a", tuple(routes["a"])), Host("b", tuple(routes["b"])))
    return Topology(hosts + routers, tuple(wires))


def routed_address(link: int, end: int, version: int = 4) -> str:
    """Address of a (1) or b (2) on its link in `routed_hosts`."""
    net = link * 10 + end
    return f"10.78.{net}.1" if version == 4 else f"fd78:{net}::1"


CLIENT_LAN = ("192.168.71.0/24", "fd71::/64")
SERVER_LAN = ("192.168.72.0/24", "fd72::/64")


def gateways(links: int = 2, *, guarded: bool = False) -> Topology:
    """client - a = b - server: a and b are routers with a LAN behind each."""
    base = two_hosts(links, guarded=guarded)
    lans = (
        Wire(
            "client",
            End("client", "lan0", ("192.168.71.2/24", "fd71::2/64")),
            End("a", "lan0", ("192.168.71.1/24", "fd71::1/64")),
            guarded=False,
        ),
        Wire(
            "server",
            End("server", "lan0", ("192.168.72.2/24", "fd72::2/64")),
            End("b", "lan0", ("192.168.72.1/24", "fd72::1/64")),
            guarded=False,
        ),
    )
    hosts = (
        Host("a", forward=True),
        Host("b", forward=True),
        Host("client", (("0.0.0.0/0", "192.168.71.1", "lan0", 0), ("::/0", "fd71::1", "lan0", 0))),
        Host("server", (("0.0.0.0/0", "192.168.72.1", "lan0", 0), ("::/0", "fd72::1", "lan0", 0))),
    )
    return Topology(hosts, base.wires + lans)


# What `mpbond lab up` knows by name.
TOPOLOGIES: dict[str, Callable[[], Topology]] = {
    "two-hosts": lambda: two_hosts(3),
    "routers": routed_hosts,
    "gateways": lambda: gateways(2, guarded=True),
}
