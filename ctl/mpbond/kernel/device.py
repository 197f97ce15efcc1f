"""mp0 itself: a veth pair whose far end belongs to us, its addresses and routes."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from mpbond.config.model import Interface, Network
from mpbond.errors import KernelError
from mpbond.kernel import ethtool
from mpbond.layout import far_name

# Below IP's 64 KiB by more than any outer header: what mp0's queue lets out
# still fits one IP packet when it is wrapped.
GSO_MAX_SIZE = 65_000
# A super-packet in a tunnel cannot be wrapped once more whole: mp0 cuts it. The
# egress program sends it there (bpf/encap.h, make_plain_room).
_TUNNEL_OFFLOADS = frozenset(
    {
        "tx-udp_tnl-segmentation",
        "tx-udp_tnl-csum-segmentation",
        "tx-gre-segmentation",
        "tx-gre-csum-segmentation",
        "tx-ipxip4-segmentation",
        "tx-ipxip6-segmentation",
    }
)
# Super-packets that mp0 takes from the stack.
_CUTTING = frozenset(
    {
        "tx-tcp-segmentation",
        "tx-tcp-ecn-segmentation",
        "tx-tcp-mangleid-segmentation",
        "tx-tcp6-segmentation",
        "tx-udp-segmentation",
    }
)
_ADDR_GEN_NONE = 1


def _ask(step: str, call: Callable[[], Any], *, fine: tuple[int, ...] = ()) -> None:
    try:
        call()
    except NetlinkError as error:
        if error.code not in fine:
            raise KernelError(step, error.code) from error


def ifindex_of(ipr: IPRoute, name: str) -> int | None:
    found = ipr.link_lookup(ifname=name)
    return int(found[0]) if found else None


def create(ipr: IPRoute, name: str, mtu: int) -> None:
    """The pair, not yet up. NOARP: there is nobody on it to ask for."""
    far = far_name(name)
    _ask(
        f"creating {name}",
        lambda: ipr.link("add", ifname=name, kind="veth", mtu=mtu, peer={"ifname": far, "mtu": mtu}),
    )
    for end in (name, far):
        _quiet_ipv6(end)
        index = ifindex_of(ipr, end)
        _ask(f"setting up {end}", lambda index=index: ipr.link("set", index=index, arp=False))  # type: ignore[misc]
    near = ifindex_of(ipr, name)
    _ask(
        f"limiting super-packets on {name}",
        lambda: ipr.link("set", index=near, gso_max_size=GSO_MAX_SIZE),
        fine=(errno.EOPNOTSUPP, errno.EINVAL),
    )
    try:
        ethtool.set_gro(name, True)
        ethtool.turn_features(name, _TUNNEL_OFFLOADS, on=False)
        # veth joins packets (GRO) only where the sending end would not send them
        # whole: what the far end hands to mp0 came in one by one.
        ethtool.turn_features(far, _CUTTING, on=False)
    except OSError as error:
        raise KernelError(f"setting offloads of {name}", error.errno or 0) from error


def _quiet_ipv6(name: str) -> None:
    """No link-local address, no router solicitations into the bond."""
    for key, value in (("addr_gen_mode", _ADDR_GEN_NONE), ("accept_ra", 0), ("accept_dad", 0)):
        file = Path(f"/proc/sys/net/ipv6/conf/{name}/{key}")
        if file.exists():
            file.write_text(f"{value}\n")


def bring_up(ipr: IPRoute, name: str) -> None:
    for end in (far_name(name), name):
        index = ifindex_of(ipr, end)
        _ask(f"bringing {end} up", lambda index=index: ipr.link("set", index=index, state="up"))  # type: ignore[misc]


def set_cutting(name: str, cut: bool) -> None:
    """Should mp0's queue let out every packet alone, super-packets cut?"""
    try:
        ethtool.turn_features(name, _CUTTING, on=not cut)
    except OSError as error:
        raise KernelError(f"setting offloads of {name}", error.errno or 0) from error


def set_mtu(ipr: IPRoute, name: str, mtu: int) -> None:
    for end in (far_name(name), name):
        index = ifindex_of(ipr, end)
        _ask(f"setting the MTU of {end} to {mtu}", lambda index=index: ipr.link("set", index=index, mtu=mtu))  # type: ignore[misc]


def remove(ipr: IPRoute, name: str) -> bool:
    """Takes the pair away, and with it addresses, routes and filters on it."""
    index = ifindex_of(ipr, name)
    if index is None:
        return False
    _ask(f"removing {name}", lambda: ipr.link("del", index=index), fine=(errno.ENODEV,))
    return True


def add_address(ipr: IPRoute, name: str, address: Interface) -> None:
    _ask(
        f"adding {address} to {name}",
        lambda: ipr.addr(
            "add", index=ifindex_of(ipr, name), address=str(address.ip), prefixlen=address.network.prefixlen
        ),
        fine=(errno.EEXIST,),
    )


def remove_address(ipr: IPRoute, name: str, address: Interface) -> None:
    _ask(
        f"removing {address} from {name}",
        lambda: ipr.addr(
            "del", index=ifindex_of(ipr, name), address=str(address.ip), prefixlen=address.network.prefixlen
        ),
        fine=(errno.EADDRNOTAVAIL, errno.ENODEV),
    )


def _route(ipr: IPRoute, verb: str, name: str, prefix: Network) -> Any:
    family = 2 if prefix.version == 4 else 10
    return ipr.route(verb, dst=str(prefix), oif=ifindex_of(ipr, name), family=family)


def add_route(ipr: IPRoute, name: str, prefix: Network) -> None:
    """A route that is there already is fine if it is ours. Looked for only then: with a
    thousand peers, reading all routes for each would take a minute and 40 MB."""
    try:
        _ask(f"routing {prefix} to {name}", lambda: _route(ipr, "add", name, prefix))
    except KernelError as error:
        if error.errno != errno.EEXIST or not _has_route(ipr, name, prefix):
            raise


def _has_route(ipr: IPRoute, name: str, prefix: Network) -> bool:
    """Adopted, or made by the kernel with an address of ours."""
    index = ifindex_of(ipr, name)
    family = 2 if prefix.version == 4 else 10
    return any(
        message.get_attr("RTA_DST") == str(prefix.network_address) and message["dst_len"] == prefix.prefixlen
        for message in ipr.get_routes(family=family, oif=index)
    )


def remove_route(ipr: IPRoute, name: str, prefix: Network) -> None:
    _ask(
        f"removing the route of {prefix}",
        lambda: _route(ipr, "del", name, prefix),
        fine=(errno.ESRCH, errno.ENODEV),
    )
