"""Hosts and configurations to compute layouts from, written as one would tell them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_interface, ip_network

from mpbond.config.model import (
    BasePolicy,
    BondInterface,
    Config,
    Endpoint,
    LinkMode,
    LinkRule,
    Node,
    Peer,
    Policy,
    RxMode,
    SelectMethod,
    Settings,
)
from mpbond.inventory import Inventory, Link, LinkAddress, Route
from mpbond.layout import Layout, PathSpec, Placement

PEER = "abcdef0123"
REMOTE = "203.0.113.1"
REMOTE6 = "2001:db8:ffff::1"
XOR = Policy("balance-xor", BasePolicy.BALANCE_XOR)


@dataclass(frozen=True)
class Nic:
    """A link: `addresses` bring their connected routes along, `routes` read like `ip route`."""

    name: str
    addresses: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    ifindex: int = 0
    mtu: int = 1500
    up: bool = True
    kind: str = ""
    ethernet: bool = True
    loopback: bool = False

    def down(self) -> Nic:
        """As the kernel shows it then: its routes and IPv6 addresses are gone."""
        kept = tuple(address for address in self.addresses if ip_interface(address).version == 4)
        return replace(self, up=False, addresses=kept, routes=())


def route(ifindex: int, text: str) -> Route:
    """`PREFIX|default|default6 [via GATEWAY] [metric N] [src ADDRESS]`."""
    prefix, *rest = text.split()
    given = dict(zip(rest[::2], rest[1::2], strict=True))
    return Route(
        prefix=ip_network({"default": "0.0.0.0/0", "default6": "::/0"}.get(prefix, prefix)),
        ifindex=ifindex,
        gateway=ip_address(given["via"]) if "via" in given else None,
        metric=int(given.get("metric", 0)),
        source=ip_address(given["src"]) if "src" in given else None,
    )


def host(*nics: Nic) -> Inventory:
    """A host with these links; ifindices count from 2 where they are not given."""
    links: dict[int, Link] = {}
    addresses: list[LinkAddress] = []
    routes: list[Route] = []
    for at, nic in enumerate(nics, 2):
        index = nic.ifindex or at
        links[index] = Link(index, nic.name, nic.kind, nic.mtu, nic.up, nic.ethernet, nic.loopback)
        addresses += [LinkAddress(index, ip_interface(text)) for text in nic.addresses]
        connected = [str(ip_interface(text).network) for text in nic.addresses if nic.up]
        routes += [route(index, text) for text in (*nic.routes, *connected)]
    return Inventory(links, tuple(addresses), tuple(routes))


def uplink(name: str, number: int, **more: object) -> Nic:
    """A link with the network 192.0.2.0/24's like, number 10.0.`number`, and a default route."""
    nic = Nic(name, (f"10.0.{number}.2/24",), (f"default via 10.0.{number}.1 metric {100 + number}",))
    return replace(nic, **more)  # type: ignore[arg-type]


def endpoint(text: str) -> Endpoint:
    """`ADDRESS`, or `ADDRESS%LINK` for one that is tied to a link."""
    address, _, link = text.partition("%")
    return Endpoint(ip_address(address), link=link or None)


def rule(ifname: str, mode: str = "primary", *, to: str | None = None, ipv: int = 0) -> LinkRule:
    return LinkRule(ifname, LinkMode(mode), 0, ipv, to)


def backup(*rules: LinkRule, method: str = "always", primary: str | None = None) -> Policy:
    """An active-backup policy; its primary is the first link unless named, as in a file."""
    first = rules[0].ifname if rules else None
    return Policy(
        "backup",
        BasePolicy.ACTIVE_BACKUP,
        link_select_method=SelectMethod(method),
        links=rules,
        primary=primary or first,
    )


def xor(*rules: LinkRule) -> Policy:
    return replace(XOR, name="xor", links=rules)


def peer(
    *endpoints: str,
    ident: str = PEER,
    name: str | None = None,
    policy: Policy = XOR,
    allowed: tuple[str, ...] = ("10.9.0.2/32",),
) -> Peer:
    return Peer(
        id=ident,
        name=name,
        policy=policy,
        endpoints=tuple(endpoint(text) for text in endpoints or (REMOTE,)),
        allowed=tuple(ip_network(text) for text in allowed),
        key=bytes(32),
    )


def config(
    *peers: Peer,
    addresses: tuple[str, ...] = ("10.9.0.1/24",),
    mtu: int | None = None,
    rx: RxMode = RxMode.AUTO,
    rx_links: tuple[tuple[str, RxMode], ...] = (),
) -> Config:
    interface = BondInterface(
        addresses=tuple(ip_interface(text) for text in addresses), mtu=mtu, rx=rx, rx_links=rx_links
    )
    return Config("test.yaml", Node("0123456789"), interface, Settings(), XOR, (), peers)


def placed(layout: Layout) -> dict[str, Placement]:
    """What stays in place of a layout, as the controller tells `compute`."""
    return {bond.peer.id: Placement(bond.index, bond.paths) for bond in layout.bonds}


def told(path: PathSpec) -> str:
    """`eth0: LOCAL -> REMOTE via NEXT HOP`: what most cases ask for."""
    return f"{path.key.ifname}: {path.key.local} -> {path.key.remote} via {path.next_hop}"
