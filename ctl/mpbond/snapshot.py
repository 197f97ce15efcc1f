"""Frozen readings of a running bond, and their JSON form. Plain data.

Field names are ZeroTier's where it has one. Times are ms, ratios 0..1, None where
nothing was measured yet.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from mpbond.errors import UsageError


@dataclass(frozen=True, slots=True)
class PathViewSnapshot:
    """What the peer's last report says of a path: its state and whether it is a spare, may
    be used, and is used there; latency and variation of the round trip, losses on the way
    to us, errors on the way from us, as the peer measures them."""

    peerState: str
    peerMode: str
    peerEligible: bool
    peerActive: bool
    peerLatencyMean: float | None
    peerLatencyVariance: float | None
    peerPacketLossRatio: float | None
    peerPacketErrorRatio: float | None


@dataclass(frozen=True, slots=True)
class PeerViewSnapshot:
    """What the peer's reports say of itself. Times in ms: `reportAge` since the last one;
    of those of the last ten seconds `reportGap`, the longest between two or since the last,
    `reportLate`, how much later than the quickest any came, and `reportStall`, how much
    later than it should the peer acted, by its own word."""

    policy: str
    policyBase: str
    peerFailoverInterval: int
    version: str
    peerFeatures: tuple[str, ...]
    reports: int
    reportAge: float
    reportGap: float
    reportLate: float
    reportStall: float


@dataclass(frozen=True, slots=True)
class PathSnapshot:
    """One path. `address` is the remote one, with port; `state` is health's word.
    `capacity`: of its link by the file, Mbit/s; `capacityEstimated`: as measured, until
    then None; `deliveredRate`: data that the peer receives over it, Mbit/s.
    `avoided`: it is, or was, over a limit; `avoidedMs`: how much longer it has to be well.
    `heldMs`: how much longer it is kept out for its flaps. `peerSpare`: does the peer
    call it a spare; None while it has not said. `metadata`: one of its `connections` is
    the bond's for metadata. `network`: lan or wan; `priority`: the lower goes first;
    `farther`: a spare for as long as a nearer path can be used. `learnt`: `address` comes
    of the peer's probes, and `configuredAddress` is the file's; None where that has none.
    `peerView`: None without a report of it."""

    idx: int
    ifname: str
    localAddress: str
    address: str
    mode: str
    state: str
    alive: bool
    eligible: bool
    bonded: bool
    active: bool
    latencyMean: float | None
    latencyVariance: float | None
    packetLossRatio: float | None
    packetErrorRatio: float | None
    capacity: int | None
    capacityEstimated: float | None
    deliveredRate: float | None
    relativeQuality: float | None
    healthScore: float | None
    allocation: float
    txPackets: int
    txBytes: int
    rxPackets: int
    rxBytes: int
    lastInAge: float | None
    lastOutAge: float | None
    assignedFlowCount: int
    rx: str
    flaps: int
    heldMs: float
    peerSpare: bool | None
    avoided: bool
    avoidedMs: float
    connections: int
    metadata: bool
    peerView: PathViewSnapshot | None
    network: str
    priority: int
    farther: bool
    learnt: bool = False
    configuredAddress: str | None = None


@dataclass(frozen=True, slots=True)
class RateSnapshot:
    """Rates of a peer over all its paths together, KiB/s; None: no limit. `sendByPeer`: the
    peer wants no more; `receiveAgreed`: it has been told what we want. `sendWaiting`:
    bytes that wait now; `sendDropped`: packets for which there was no more room."""

    send: int | None
    sendByPeer: bool
    sendWaiting: int
    sendDropped: int
    receive: int | None
    receiveAgreed: bool


@dataclass(frozen=True, slots=True)
class KeySnapshot:
    """A session that came of a handshake. `age`: seconds; None without one. `tries`:
    messages sent for the next one. `connections`: agreed for each path; `features`: the
    peer's."""

    age: float | None
    rekeys: int
    tries: int
    connections: int | None
    features: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BondSnapshot:
    """One peer. `session`: "up" once any probe of the peer was heard and checked.
    `keys`: None where they come of a shared key; `rates`: None where there is no limit.
    `configuredPolicy` is the file's, `bondingPolicyStr` the one in force. `waits`: the file
    has no endpoints of the peer, so it has to begin. `numConnections`: of all paths that
    are alive, `connections` the same as "1 + n"; `connectionsPerPath`: what both ends
    agreed on. `metadataPath`: the number of the path that reports go over;
    `peerViewMissing`: why there is no `peerView`."""

    address: str
    name: str | None
    bondingPolicyStr: str
    configuredPolicy: str
    peerPolicy: str | None
    basePolicy: str
    linkSelectMethod: str | None
    failoverInterval: int
    upDelay: int
    downDelay: int
    packetsPerLink: int | None
    numAliveLinks: int
    numTotalLinks: int
    failoverEvents: int
    activePath: int | None
    session: str
    keys: KeySnapshot | None
    numConnections: int
    connections: str
    connectionsPerPath: int
    metadataPath: int | None
    peerView: PeerViewSnapshot | None
    peerViewMissing: str | None
    rates: RateSnapshot | None
    paths: tuple[PathSnapshot, ...]
    waits: bool = False

    def as_json(self, *, with_paths: bool = True) -> dict[str, Any]:
        data = asdict(self)
        if not with_paths:
            del data["paths"]
        return data


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything a listing shows. `reasons`: how packets ended, by name."""

    interface: str
    node: str
    pid: int
    adopted: bool
    uptime_s: float
    tickLateMs: float
    bonds: tuple[BondSnapshot, ...]
    reasons: dict[str, int]
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def _bond_from_json(data: dict[str, Any]) -> BondSnapshot:
    paths = tuple(_path_from_json(path) for path in data["paths"])
    keys, view = data["keys"], data["peerView"]
    if keys is not None:
        keys = KeySnapshot(**{**keys, "features": tuple(keys["features"])})
    rates = None if data["rates"] is None else RateSnapshot(**data["rates"])
    if view is not None:
        view = PeerViewSnapshot(**{**view, "peerFeatures": tuple(view["peerFeatures"])})
    return BondSnapshot(**{**data, "paths": paths, "keys": keys, "rates": rates, "peerView": view})


def _path_from_json(data: dict[str, Any]) -> PathSnapshot:
    view = data["peerView"]
    return PathSnapshot(**{**data, "peerView": None if view is None else PathViewSnapshot(**view)})


def from_json(data: dict[str, Any]) -> Snapshot:
    """The inverse of `Snapshot.as_json`. UsageError where the controller that wrote it
    knows other fields: it was started by another version."""
    try:
        bonds = tuple(_bond_from_json(bond) for bond in data["bonds"])
        return Snapshot(**{**data, "bonds": bonds, "notes": tuple(data["notes"])})
    except (KeyError, TypeError) as error:
        raise UsageError(
            "the running controller is of another version of mpbond: `mpbond down`, then `mpbond up FILE`"
        ) from error
