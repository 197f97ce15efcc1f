"""What the host has, as plain values: links, their addresses, the routes.

Pure: read by kernel/links.py, made by hand in tests.
"""

from __future__ import annotations

from dataclasses import dataclass

from mpbond.config.model import Address, Interface, Network


@dataclass(frozen=True, slots=True)
class Link:
    """`up`: administratively up and with carrier. `kind` "" = no virtual device."""

    ifindex: int
    name: str
    kind: str
    mtu: int
    up: bool
    ethernet: bool
    loopback: bool = False
    mac: str = ""

    @property
    def whole(self) -> bool:
        """Does it hand over super-packets as they were sent? A wire's packets come one
        by one, whatever a virtual device on top of it is called."""
        return self.kind == "veth"


@dataclass(frozen=True, slots=True)
class LinkAddress:
    ifindex: int
    interface: Interface


@dataclass(frozen=True, slots=True)
class Route:
    """One next hop of a unicast route, from whichever table."""

    prefix: Network
    ifindex: int
    gateway: Address | None
    metric: int
    source: Address | None


@dataclass(frozen=True, slots=True)
class Inventory:
    links: dict[int, Link]
    addresses: tuple[LinkAddress, ...]
    routes: tuple[Route, ...]

    def link_named(self, name: str) -> Link | None:
        return next((link for link in self.links.values() if link.name == name), None)

    def addresses_of(self, ifindex: int, version: int) -> list[Interface]:
        """The link's addresses of IP version 4 or 6, in the kernel's order."""
        return [
            item.interface
            for item in self.addresses
            if item.ifindex == ifindex and item.interface.version == version
        ]

    def route_over(self, ifindex: int, address: Address) -> Route | None:
        """The link's own best route: longest prefix, then lowest metric.

        Other links' routes do not count, so a host with several default routes
        needs no policy routing for its paths.
        """
        usable = [
            route
            for route in self.routes
            if route.ifindex == ifindex
            and route.prefix.version == address.version
            and address in route.prefix
        ]
        return min(usable, key=lambda route: (-route.prefix.prefixlen, route.metric), default=None)
