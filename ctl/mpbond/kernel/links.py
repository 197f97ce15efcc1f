"""The host's links, addresses and routes as plain values, read by netlink."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from pyroute2 import IPRoute

from mpbond.inventory import Inventory, Link, LinkAddress, Route

_ARPHRD_ETHER = 1
_ARPHRD_LOOPBACK = 772
_IFF_UP = 0x1
_IFF_LOOPBACK = 0x8
_IFF_LOWER_UP = 0x10000
_IFA_F_SECONDARY = 0x01
_IFA_F_DEPRECATED = 0x20
_IFA_F_TENTATIVE = 0x40
_AF_INET, _AF_INET6 = 2, 10
_RTN_UNICAST = 1
_TABLE_LOCAL = 255


def read_link(message: Any) -> Link:
    """One RTM_NEWLINK message."""
    info = message.get_attr("IFLA_LINKINFO")
    flags = message["flags"]
    mac = message.get_attr("IFLA_ADDRESS") or ""
    return Link(
        ifindex=message["index"],
        name=message.get_attr("IFLA_IFNAME"),
        kind=(info.get_attr("IFLA_INFO_KIND") if info else None) or "",
        mtu=message.get_attr("IFLA_MTU") or 1500,
        up=bool(flags & _IFF_UP) and bool(flags & _IFF_LOWER_UP),
        ethernet=message["ifi_type"] == _ARPHRD_ETHER,
        loopback=message["ifi_type"] == _ARPHRD_LOOPBACK or bool(flags & _IFF_LOOPBACK),
        mac=mac,
    )


def _read_address(message: Any) -> LinkAddress | None:
    text = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
    flags = message.get_attr("IFA_FLAGS") or message["flags"]
    if text is None or flags & (_IFA_F_TENTATIVE | _IFA_F_DEPRECATED):
        return None
    return LinkAddress(message["index"], ip_interface(f"{text}/{message['prefixlen']}"))


def _hops(message: Any) -> list[tuple[int, str | None]]:
    """(ifindex, gateway) of each next hop of a route."""
    several = message.get_attr("RTA_MULTIPATH")
    if several:
        return [(hop["oif"], _gateway(hop)) for hop in several]
    ifindex = message.get_attr("RTA_OIF")
    return [(ifindex, _gateway(message))] if ifindex else []


def _gateway(message: Any) -> str | None:
    gateway = message.get_attr("RTA_GATEWAY")
    if gateway:
        return str(gateway)
    via = message.get_attr("RTA_VIA")
    return str(via["addr"]) if via else None


def _read_routes(message: Any) -> list[Route]:
    if message["type"] != _RTN_UNICAST or message.get_attr("RTA_TABLE", message["table"]) == _TABLE_LOCAL:
        return []
    if message["family"] not in (_AF_INET, _AF_INET6):
        return []
    any_net = "0.0.0.0" if message["family"] == _AF_INET else "::"
    prefix = ip_network(f"{message.get_attr('RTA_DST') or any_net}/{message['dst_len']}")
    source = message.get_attr("RTA_PREFSRC")
    return [
        Route(
            prefix=prefix,
            ifindex=ifindex,
            gateway=ip_address(gateway) if gateway else None,
            metric=message.get_attr("RTA_PRIORITY") or 0,
            source=ip_address(source) if source else None,
        )
        for ifindex, gateway in _hops(message)
    ]


def read_inventory(ipr: IPRoute) -> Inventory:
    """Everything that paths depend on, as of now."""
    links = {link.ifindex: link for link in map(read_link, ipr.get_links())}
    addresses = [address for address in map(_read_address, ipr.get_addr()) if address is not None]
    routes: list[Route] = []
    for family in (_AF_INET, _AF_INET6):
        for message in ipr.get_routes(family=family):
            routes += _read_routes(message)
    return Inventory(links=links, addresses=tuple(addresses), routes=tuple(routes))
