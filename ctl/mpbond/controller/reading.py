"""From maps and bond states to a Snapshot: the one place that reads counters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mpbond import abi
from mpbond.config.model import BasePolicy
from mpbond.connections import one_and_others
from mpbond.control_frames import policy_name
from mpbond.controller.balancing import Balancing
from mpbond.controller.bond import ONE_PATH, BondState
from mpbond.controller.connecting import Connecting
from mpbond.controller.control import Told
from mpbond.controller.measuring import Measuring
from mpbond.controller.peerview import feature_names, path_view, peer_view, why_none
from mpbond.controller.roaming import as_endpoint, of_file
from mpbond.controller.scoring import Scoring
from mpbond.controller.trust import KeyState
from mpbond.health import State
from mpbond.kernel.dataplane import Dataplane
from mpbond.layout import PathSpec
from mpbond.learnt import waits
from mpbond.samples import Estimate
from mpbond.snapshot import BondSnapshot, KeySnapshot, PathSnapshot, RateSnapshot

Array = np.ndarray[Any, Any]

# A flow that sent nothing for this long is not counted as assigned.
FLOW_SEEN_S = 60


@dataclass(frozen=True, slots=True)
class PeerMarks:
    """What the peer says of a path: the code of the policy it sends by, and whether
    the path is a spare to it."""

    policy_code: int
    spare: bool

    @property
    def policy(self) -> str:
        """By its name; a code that this version does not know is shown as it is."""
        return policy_name(self.policy_code)


def decode_marks(word: int) -> PeerMarks | None:
    """None where the peer has not said anything: silent yet, or an older version."""
    if not word & abi.PeerMark.VALID:
        return None
    return PeerMarks(word & abi.MARK_POLICY, bool(word & abi.PeerMark.SPARE))


def peer_marks(plane: Dataplane, index: int) -> PeerMarks | None:
    """What the peer says of one path."""
    return decode_marks(int(plane.paths_live["peer_marks"][index]))


def peer_spare_mask(plane: Dataplane, paths: Array) -> Array:
    """Which of these paths the peer calls spares."""
    wanted = int(abi.PeerMark.VALID | abi.PeerMark.SPARE)
    spare: Array = plane.paths_live["peer_marks"][paths] & wanted == wanted
    return spare


def last_data_ns(plane: Dataplane, index: int) -> int:
    """When the peer's data came over a path last; 0 = never."""
    return int(plane.path_stats[index]["last_rx_ns"].max())


def _age_ms(then_ns: int, now_ns: int) -> float | None:
    return round(max(0, now_ns - then_ns) / 1e6, 3) if then_ns else None


def path_snapshot(
    plane: Dataplane,
    state: BondState,
    path: PathSpec,
    flows: dict[int, int],
    xdp: set[str],
    measuring: Measuring,
    balancing: Balancing,
    scoring: Scoring,
    connecting: Connecting,
    now_ns: int,
    told: Told | None,
) -> PathSnapshot:
    index = state.index_of(path)
    count, metadata = connecting.of_path(state.spec.index, index)
    stats: Any = plane.path_stats[index]
    live: Any = plane.paths_live[index]
    health = state.health[index]
    alive = health.state is not State.DOWN
    measured = measuring.of(index) if alive else Estimate()
    balance = balancing.of(index)
    marks = peer_marks(plane, index)
    moved = plane.endpoints.moved(index)
    last_in_ns = max(last_data_ns(plane, index), int(live["last_in_ns"]))
    last_out_ns = max(int(stats["last_tx_ns"].max()), int(live["last_out_ns"]))
    active = (
        index == state.active if state.assignment.active is not None else index in state.assignment.shares
    )
    return PathSnapshot(
        idx=path.number,
        ifname=path.key.ifname,
        localAddress=str(path.key.local),
        address=as_endpoint(moved or of_file(path)),
        mode=path.mode.value,
        state=health.state.value if path.link_up else "link down",
        alive=alive,
        eligible=health.eligible,
        bonded=index in state.assignment.order,
        active=active and health.eligible,
        latencyMean=_rounded(measured.latency_ms),
        latencyVariance=_rounded(measured.pdv_ms),
        packetLossRatio=_rounded(measured.plr, 6),
        packetErrorRatio=_rounded(measured.per, 6),
        capacity=path.capacity_mbit or None,
        capacityEstimated=_rounded(balance.estimated_mbit, 3),
        deliveredRate=_mbit(measured.delivered_bps),
        relativeQuality=_rounded(measuring.score(index)) if alive else None,
        healthScore=_rounded(scoring.of(index), 1) if alive else None,
        allocation=_allocation(plane, state, index),
        txPackets=int(stats["tx_packets"].sum()),
        txBytes=int(stats["tx_bytes"].sum()),
        rxPackets=int(stats["rx_packets"].sum()),
        rxBytes=int(stats["rx_bytes"].sum()),
        lastInAge=_age_ms(last_in_ns, now_ns),
        lastOutAge=_age_ms(last_out_ns, now_ns),
        assignedFlowCount=flows.get(index, 0),
        rx="xdp" if path.key.ifname in xdp else "tc",
        flaps=health.flaps(now_ns),
        heldMs=round(health.held_ns(now_ns) / 1e6, 1),
        peerSpare=_peer_spare(state, marks, told, index),
        avoided=balance.avoided,
        avoidedMs=round(balance.wait_ms, 1),
        connections=count,
        metadata=metadata,
        peerView=path_view(told, index),
        network=state.precedence_of(index).reach.value,
        priority=state.precedence_of(index).number,
        farther=index in state.farther(),
        learnt=moved is not None or waits(state.spec.peer),
        configuredAddress=None if waits(state.spec.peer) else as_endpoint(of_file(path)),
    )


def _peer_spare(state: BondState, marks: PeerMarks | None, told: Told | None, index: int) -> bool | None:
    """By its probes on that path or by its report of it; None where neither has come."""
    if index in state.peer_spares:
        return True
    return None if marks is None and (told is None or index not in told.reported) else False


def _rounded(value: float | None, digits: int = 4) -> float | None:
    return None if value is None else round(value, digits)


def _mbit(bps: float | None) -> float | None:
    return None if bps is None else round(bps / 1e6, 3)


def _allocation(plane: Dataplane, state: BondState, index: int) -> float:
    """Of new flows; under balance-aware by the slots as they are."""
    if state.assignment.active is not None:
        return 1.0 if index == state.assignment.active else 0.0
    if state.spec.policy.base is BasePolicy.BALANCE_AWARE:
        return round(plane.slots(state.spec.index).count(index) / abi.SLOTS, 4)
    total = sum(state.assignment.shares.values())
    return round(state.assignment.shares.get(index, 0.0) / total, 4) if total else 0.0


def _peer_policy(plane: Dataplane, state: BondState) -> str | None:
    """By the path on which the peer was heard last."""
    last_in_ns = plane.paths_live["last_in_ns"]
    for index in sorted(state.health, key=lambda index: int(last_in_ns[index]), reverse=True):
        marks = peer_marks(plane, index)
        if marks is not None:
            return marks.policy
    return None


def bond_snapshot(
    plane: Dataplane,
    state: BondState,
    flows: dict[int, int],
    xdp: set[str],
    measuring: Measuring,
    balancing: Balancing,
    scoring: Scoring,
    connecting: Connecting,
    now_ns: int,
    *,
    configured: str,
    keys: KeyState | None,
    told: Told | None,
    rates: RateSnapshot | None,
) -> BondSnapshot:
    """`configured`: the name of the policy that the file gives the peer. `keys`, `told`:
    None where the peer has a shared key alone."""
    spec, policy = state.spec, state.spec.policy
    paths = tuple(
        path_snapshot(plane, state, path, flows, xdp, measuring, balancing, scoring, connecting, now_ns, told)
        for path in spec.paths
    )
    active_backup = policy.base in ONE_PATH
    total = sum(path.connections for path in paths if path.alive)
    first = next((path.idx for path in paths if path.active), None)
    return BondSnapshot(
        address=spec.peer.id,
        name=spec.peer.name,
        bondingPolicyStr=policy.name,
        configuredPolicy=configured,
        peerPolicy=_peer_policy(plane, state),
        basePolicy=policy.base.value,
        linkSelectMethod=policy.link_select_method.value if active_backup else None,
        failoverInterval=policy.failover_interval_ms,
        upDelay=policy.up_delay_ms,
        downDelay=policy.down_delay_ms,
        packetsPerLink=policy.packets_per_link if policy.base is BasePolicy.BALANCE_RR else None,
        numAliveLinks=len({path.ifname for path in paths if path.alive}),
        numTotalLinks=len({path.ifname for path in paths}),
        failoverEvents=state.failovers,
        activePath=first if active_backup else None,
        session=_session(plane, state, now_ns),
        keys=_keys(keys),
        numConnections=total,
        connections=one_and_others(total),
        connectionsPerPath=connecting.agreed(spec.index),
        metadataPath=None if told is None or told.way is None else told.way % plane.block,
        peerView=peer_view(told, now_ns),
        peerViewMissing=why_none(told),
        rates=rates,
        paths=paths,
        waits=waits(spec.peer),
    )


def _keys(keys: KeyState | None) -> KeySnapshot | None:
    if keys is None:
        return None
    return KeySnapshot(
        age=None if keys.age_ns is None else round(keys.age_ns / 1e9, 1),
        rekeys=keys.rekeys,
        tries=keys.tries,
        connections=keys.connections,
        features=feature_names(keys.features),
    )


def _session(plane: Dataplane, state: BondState, now_ns: int) -> str:
    """Has the peer been heard, with packets that passed their check, lately?"""
    first = state.spec.index * plane.block
    live = plane.paths_live[first : first + plane.block]
    newest = int(np.max(live["last_in_ns"]))
    if newest == 0:
        return "no session"
    patience_ns = 3 * state.spec.policy.failover_interval_ms * 1_000_000
    return "up" if now_ns - newest <= patience_ns else "silent"


def alive_mask(plane: Dataplane, paths: Array) -> Array:
    """Which of these path indices have fresh proof and a link that is up: the
    kernel's own rule (bpf/select.h), for many paths at once. A bond whose every
    path is silent has none alive. One probe of ours must have been answered since
    the link came up: the peer's word shows that the way is open, but not that our
    kernel knows the next hop's address yet."""
    bond = paths // plane.block
    live, bonds = plane.bonds_live, plane.bonds
    proof = plane.paths_live["proof_ns"][paths].astype(np.int64)
    freshest = live["freshest_ns"][bond].astype(np.int64)
    failover = bonds["failover_ns"][bond].astype(np.int64)
    up = (plane.paths["flags"][paths] & int(abi.PathFlag.LINK_UP)) != 0
    silence = live["clock_ns"][bond].astype(np.int64) - freshest
    up &= plane.paths_live["answer_at_ns"][paths] > 0
    alive: Array = up & (proof > 0) & (freshest - proof <= failover) & (silence <= failover)
    return alive
