"""Our programs on interfaces: attach, find again, take off.

The kernel is the registry: a filter carries our name and the bond's interface,
so a new controller, or `down` after a killed one, finds what is ours by asking
the interfaces, without pins that another mount of /sys would hide.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.rtnl.tcmsg import sched_bpf

from mpbond.errors import KernelError

INGRESS = 0xFFFFFFF2
EGRESS = 0xFFFFFFF3
_CLSACT_HANDLE = 0xFFFF0000
_ETH_P_ALL = 3
_BPF_ID = "TCA_BPF_ID"
_NAME_PREFIX = "mpbond:"
_XDP_UPDATE_IF_NOEXIST = 1 << 0
_XDP_DRV_MODE = 1 << 2


def _teach_pyroute2() -> None:
    """pyroute2 0.9 knows a filter's attributes up to TCA_BPF_FLAGS (8)."""
    known = sched_bpf.options.nla_map
    later = (("TCA_BPF_FLAGS_GEN", "uint32"), ("TCA_BPF_TAG", "hex"), (_BPF_ID, "uint32"))
    if _BPF_ID not in dict(known):
        sched_bpf.options.nla_map = known + later[len(known) - 9 :]


_teach_pyroute2()


@dataclass(frozen=True, slots=True)
class Attached:
    """A filter of ours: which interface and hook, for which bond, which program."""

    ifindex: int
    parent: int
    prio: int
    bond: str
    program_id: int


def filter_name(bond: str) -> str:
    return _NAME_PREFIX + bond


def ensure_clsact(ipr: IPRoute, ifindex: int) -> None:
    try:
        ipr.tc("add", "clsact", ifindex)
    except NetlinkError as error:
        if error.code != errno.EEXIST:
            raise KernelError("adding the clsact qdisc", error.code) from error


def attach(
    ipr: IPRoute, ifindex: int, parent: int, prio: int, fd: int, bond: str, protocol: int = _ETH_P_ALL
) -> None:
    """Adds the program, or replaces ours at the same place in one step.

    `protocol` is an ethertype: packets of others never reach the program.
    """
    try:
        ipr.tc(
            "replace-filter",
            "bpf",
            ifindex,
            handle=1,
            parent=parent,
            prio=prio,
            protocol=protocol,
            fd=fd,
            name=filter_name(bond),
            direct_action=True,
        )
    except NetlinkError as error:
        raise KernelError("attaching a tc program", error.code) from error


def _found(message: Any) -> Attached | None:
    options = message.get_attr("TCA_OPTIONS")
    if message.get_attr("TCA_KIND") != "bpf" or not options:
        return None
    name = options.get_attr("TCA_BPF_NAME") or ""
    program_id = options.get_attr(_BPF_ID)
    if not name.startswith(_NAME_PREFIX) or program_id is None:
        return None
    bond = name.removeprefix(_NAME_PREFIX)
    return Attached(message["index"], message["parent"], message["info"] >> 16, bond, program_id)


def free_prio(ipr: IPRoute, ifindex: int, parent: int, bond: str) -> int:
    """Where our filter goes on a link that others use too: where it is already, else
    behind whoever is there. Another bond's filter passes on what is not its own."""
    mine = [found.prio for found in find(ipr, ifindex, parent) if found.bond == bond]
    if mine:
        return mine[0]
    taken = {message["info"] >> 16 for message in ipr.get_filters(index=ifindex, parent=parent)}
    return next(prio for prio in range(1, 1 << 16) if prio not in taken)


def find(ipr: IPRoute, ifindex: int, parent: int) -> list[Attached]:
    """Our filters at one hook of one interface, whichever bond's."""
    try:
        messages = list(ipr.get_filters(index=ifindex, parent=parent))
    except NetlinkError as error:
        if error.code in (errno.ENODEV, errno.EINVAL, errno.ENOENT):
            return []
        raise KernelError("reading tc filters", error.code) from error
    return [found for found in map(_found, messages) if found is not None]


def detach(ipr: IPRoute, attached: Attached) -> None:
    """Takes our filter off, and the clsact qdisc with it if nothing else uses it."""
    try:
        ipr.tc("del-filter", "bpf", attached.ifindex, handle=1, parent=attached.parent, prio=attached.prio)
    except NetlinkError as error:
        if error.code not in (errno.ENOENT, errno.ENODEV, errno.EINVAL):
            raise KernelError("removing a tc program", error.code) from error
    remove_unused_clsact(ipr, attached.ifindex)


def remove_unused_clsact(ipr: IPRoute, ifindex: int) -> None:
    for parent in (INGRESS, EGRESS):
        try:
            if any(ipr.get_filters(index=ifindex, parent=parent)):
                return
        except NetlinkError:
            return
    try:
        ipr.tc("del", "clsact", ifindex)
    except NetlinkError as error:
        if error.code not in (errno.ENOENT, errno.ENODEV, errno.EINVAL):
            raise KernelError("removing the clsact qdisc", error.code) from error


def _xdp(fd: int, flags: int) -> dict[str, Any]:
    """The attribute in full: pyroute2's own `xdp_fd` leaves flags beside it out."""
    return {"attrs": [("IFLA_XDP_FD", fd), ("IFLA_XDP_FLAGS", flags)]}


def attach_xdp(ipr: IPRoute, ifindex: int, fd: int) -> None:
    """Native mode only. Raises OSError where the driver has none or it is taken."""
    try:
        ipr.link("set", index=ifindex, xdp=_xdp(fd, _XDP_DRV_MODE | _XDP_UPDATE_IF_NOEXIST))
    except NetlinkError as error:
        raise OSError(error.code, str(error)) from error


def detach_xdp(ipr: IPRoute, ifindex: int) -> None:
    try:
        ipr.link("set", index=ifindex, xdp=_xdp(-1, _XDP_DRV_MODE))
    except NetlinkError as error:
        if error.code not in (errno.ENODEV, errno.ENOENT):
            raise KernelError("removing an XDP program", error.code) from error


def xdp_program_id(ipr: IPRoute, ifindex: int) -> int | None:
    """The program on the interface, whoever's it is."""
    for message in ipr.get_links(ifindex):
        xdp = message.get_attr("IFLA_XDP")
        if xdp:
            program_id = xdp.get_attr("IFLA_XDP_PROG_ID") or xdp.get_attr("IFLA_XDP_DRV_PROG_ID")
            return int(program_id) if program_id else None
    return None
