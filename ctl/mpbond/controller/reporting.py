"""What this end has to say of a bond, and over which of its paths: from its state and
the kernel's maps. Called under the controller's lock."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import mpbond
from mpbond import abi
from mpbond.control_frames import PathMark, PathReport, PathState, View
from mpbond.controller.bond import BondState
from mpbond.controller.measuring import Measuring
from mpbond.handshake import Way
from mpbond.handshake_messages import Feature
from mpbond.health import State
from mpbond.kernel.dataplane import Dataplane
from mpbond.layout import PathSpec
from mpbond.samples import Estimate

FEATURES = Feature.COPIES | Feature.REPORTS
_STATES = {
    State.DOWN: PathState.DOWN,
    State.WAITING: PathState.WAITING,
    State.HELD: PathState.HELD,
    State.UP: PathState.UP,
}


def view_of(plane: Dataplane, state: BondState, measuring: Measuring) -> View:
    """As the bond is now."""
    policy = state.spec.policy
    return View(
        policy=policy.name,
        policy_code=int(plane.bonds[state.spec.index]["policy"]),
        version=mpbond.__version__,
        features=FEATURES,
        failover_ms=policy.failover_interval_ms,
        paths=tuple(_path_report(plane, state, path, measuring) for path in state.spec.paths),
    )


def _path_report(plane: Dataplane, state: BondState, path: PathSpec, measuring: Measuring) -> PathReport:
    index = state.index_of(path)
    health = state.health[index]
    flags = int(plane.paths["flags"][index])
    measured = measuring.of(index) if health.state is not State.DOWN else Estimate()
    carries = index == state.active or index in state.assignment.shares
    marks = PathMark.NONE
    for said, mark in (
        # The kernel's word: a path on standby is a spare to the peer too.
        (bool(flags & abi.PathFlag.SPARE), PathMark.SPARE),
        (health.eligible, PathMark.ELIGIBLE),
        (health.eligible and carries, PathMark.CARRIES),
    ):
        marks |= mark if said else PathMark.NONE
    return PathReport(
        number=path.number,
        state=_STATES[health.state] if flags & abi.PathFlag.LINK_UP else PathState.LINK_DOWN,
        marks=marks,
        latency_us=_whole(measured.latency_ms, 1e3),
        pdv_us=_whole(measured.pdv_ms, 1e3),
        loss_ppm=_whole(measured.plr, 1e6),
        errors_ppm=_whole(measured.per, 1e6),
    )


def _whole(value: float | None, units: float) -> int | None:
    return None if value is None else round(value * units)


def ways_of(state: BondState, metadata: int) -> tuple[int, ...]:
    """Indices of the paths that control frames may go over: the metadata connection's
    while it is among them, then best first. With none eligible, those that live but are
    kept waiting."""
    found = _in_order(state)
    return (metadata, *(index for index in found if index != metadata)) if metadata in found else found


def _in_order(state: BondState) -> tuple[int, ...]:
    eligible = [index for index, health in state.health.items() if health.eligible]
    in_order = [index for index in state.assignment.order if index in eligible]
    rest = sorted(index for index in eligible if index not in in_order)
    if in_order or rest:
        return (*in_order, *rest)
    return tuple(sorted(index for index, health in state.health.items() if health.state is not State.DOWN))


def round_trip_of(measuring: Measuring, index: int) -> int:
    """How long a path's round trip takes at most, in ns: by its mean and four times its
    deviation. 0 where it is not known yet."""
    measured = measuring.of(index)
    if measured.latency_ms is None or measured.pdv_ms is None:
        return 0
    return int(2e6 * (measured.latency_ms + 4 * measured.pdv_ms))


def way_of(plane: Dataplane, index: int) -> Way:
    """How packets of a path go: by the header that the kernel puts in front of them, and to
    where its peer has gone since."""
    path = plane.paths[index]
    header = path["header"].tobytes()
    local: IPv4Address | IPv6Address
    remote: IPv4Address | IPv6Address
    if header[0] >> 4 == 4:
        local, remote, udp = IPv4Address(header[12:16]), IPv4Address(header[16:20]), 20
    else:
        local, remote, udp = IPv6Address(header[8:24]), IPv6Address(header[24:40]), 40
    port = int.from_bytes(header[udp + 2 : udp + 4], "big")
    remote, port = plane.endpoints.moved(index) or (remote, port)
    return Way(int(path["ifindex"]), local, remote, port)
