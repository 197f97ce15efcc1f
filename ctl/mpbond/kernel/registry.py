"""What of ours is in the kernel: the running bonds, and how to clean up after them.

Works from the interfaces alone, so a controller need not be there, nor have ever
written a file.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from pyroute2 import IPRoute

from mpbond.kernel import bpf, device, tc
from mpbond.uplinks import far_name


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something of a bond on one interface."""

    ifname: str
    what: str


def program_ids(ipr: IPRoute, name: str) -> list[int]:
    """Every program of the bond `name`: at mp0, its far end and the links."""
    found: list[int] = []
    for link in ipr.get_links():
        ifindex = link["index"]
        attached = [item for parent in (tc.INGRESS, tc.EGRESS) for item in tc.find(ipr, ifindex, parent)]
        mine = [item.program_id for item in attached if item.bond == name]
        found += mine
        xdp = tc.xdp_program_id(ipr, ifindex) if mine else None
        if xdp is not None and _is_ours(xdp):
            found.append(xdp)
    return list(dict.fromkeys(found))


def _is_ours(program_id: int) -> bool:
    try:
        fd = bpf.program_fd(program_id)
    except OSError:
        return False
    try:
        return bpf.program_info(fd).name == "rx_xdp"
    finally:
        os.close(fd)


def bonds(ipr: IPRoute) -> list[str]:
    """Names of all bonds with anything left in this network namespace."""
    names: dict[str, None] = {}
    for link in ipr.get_links():
        for parent in (tc.INGRESS, tc.EGRESS):
            for item in tc.find(ipr, link["index"], parent):
                names[item.bond] = None
    return list(names)


def is_running(ipr: IPRoute, name: str) -> bool:
    """Is mp0 there with our programs on it?"""
    ifindex = device.ifindex_of(ipr, name)
    return ifindex is not None and any(item.bond == name for item in tc.find(ipr, ifindex, tc.EGRESS))


def is_foreign(ipr: IPRoute, name: str) -> bool:
    """Is there an interface of that name, or of its far end, that is not ours?"""
    far = device.ifindex_of(ipr, far_name(name))
    near = device.ifindex_of(ipr, name)
    if near is None and far is None:
        return False
    return not any(
        item.bond == name for ifindex in (near, far) if ifindex for item in tc.find(ipr, ifindex, tc.INGRESS)
    ) and not is_running(ipr, name)


def remove(ipr: IPRoute, name: str) -> list[Leftover]:
    """Takes away everything of the bond `name` and says what that was."""
    removed: list[Leftover] = []
    ends = (name, far_name(name))
    for link in ipr.get_links():
        ifname, ifindex = link.get_attr("IFLA_IFNAME"), link["index"]
        mine = [item for item in tc.find(ipr, ifindex, tc.INGRESS) if item.bond == name]
        if ifname in ends or not mine:
            continue
        xdp = tc.xdp_program_id(ipr, ifindex)
        if xdp is not None and _is_ours(xdp):
            tc.detach_xdp(ipr, ifindex)
            removed.append(Leftover(ifname, "XDP program"))
        for item in mine:
            tc.detach(ipr, item)
        removed.append(Leftover(ifname, "tc program"))
    if (is_running(ipr, name) or not is_foreign(ipr, name)) and device.remove(ipr, name):
        removed.append(Leftover(name, "interface"))
    return removed
