"""Which links of the host a policy may use, from which of their addresses, and where to
listen for a peer that comes by itself. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from mpbond.config.model import Address, Policy
from mpbond.inventory import Inventory, Link, Route

# Devices that are never an uplink by themselves unless a policy names them.
_NOT_UPLINKS = frozenset({"dummy", "ifb", "nlmon", "vcan"})


def far_name(name: str) -> str:
    """The far end of the veth pair whose near end users see as `name`."""
    return f"{name}-tx"


def candidate_links(policy: Policy, inventory: Inventory, own: str) -> list[Link]:
    """The links a policy may use: its list, else everything that can be an uplink."""
    found: list[Link | None] = [link for link in inventory.links.values() if link.kind not in _NOT_UPLINKS]
    if policy.links:
        found = [inventory.link_named(rule.ifname) for rule in policy.links]
    never = (own, far_name(own))
    return [link for link in found if link is not None and not link.loopback and link.name not in never]


def local_addresses(inventory: Inventory, link: Link, route: Route, remote: Address) -> list[Address]:
    """Which of a link's addresses to send from: of those of the endpoint's scope the
    ones on the next hop's network; where there is none, the route's own source, else
    all. (An IPv6 router is mostly known by its link-local address, which is near to
    one of ours that no global endpoint could answer.)"""
    hop = route.gateway if route.gateway is not None and route.gateway.version == remote.version else remote
    addresses = [
        address
        for address in inventory.addresses_of(link.ifindex, remote.version)
        if address.ip.is_link_local == remote.is_link_local
    ]
    near = [address.ip for address in addresses if hop in address.network]
    if near:
        return near
    if route.source is not None:
        return [route.source]
    return [address.ip for address in addresses]


def listening(policies: Iterable[Policy], inventory: Inventory, own: str) -> list[tuple[str, Address]]:
    """Links, with their addresses, on which a peer may come that has no endpoints here.
    Whether they are up does not count: a link whose programs come and go with its
    carrier may lose it by that."""
    found: dict[tuple[str, Address], None] = {}
    for policy in policies:
        for link in candidate_links(policy, inventory, own):
            for item in inventory.addresses:
                if item.ifindex == link.ifindex and not item.interface.ip.is_link_local:
                    found[link.name, item.interface.ip] = None
    return list(found)
