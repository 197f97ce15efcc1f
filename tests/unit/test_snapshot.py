"""A snapshot is the same after a way through JSON."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest

from mpbond.errors import UsageError
from mpbond.snapshot import (
    BondSnapshot,
    KeySnapshot,
    PathSnapshot,
    PathViewSnapshot,
    PeerViewSnapshot,
    RateSnapshot,
    Snapshot,
    from_json,
)

PATH = PathSnapshot(
    idx=0, ifname="eth0", localAddress="10.0.0.2", address="203.0.113.1:9944", mode="primary",
    state="up", alive=True, eligible=True, bonded=True, active=True, latencyMean=10.25,
    latencyVariance=0.5, packetLossRatio=None, packetErrorRatio=None, capacity=1000, capacityEstimated=940.5,
    deliveredRate=12.5, relativeQuality=0.9, healthScore=87.5,
    allocation=1.0, txPackets=1, txBytes=2, rxPackets=3, rxBytes=4,
    lastInAge=0.1, lastOutAge=0.2, assignedFlowCount=5, rx="tc",
    flaps=2, heldMs=1500.5, peerSpare=False, avoided=False, avoidedMs=0.0, connections=8, metadata=True,
    peerView=PathViewSnapshot(
        peerState="held", peerMode="spare", peerEligible=False, peerActive=False, peerLatencyMean=1.5,
        peerLatencyVariance=None, peerPacketLossRatio=0.01, peerPacketErrorRatio=0.0,
    ),
    network="lan", priority=10, farther=False,
)  # fmt: skip
SILENT = replace(
    PATH, idx=1, state="down", alive=False, latencyMean=None, capacity=None, lastInAge=None, peerView=None
)
BOND = BondSnapshot(
    keys=KeySnapshot(age=12.5, rekeys=3, tries=0, connections=1, features=("copies",)),
    rates=RateSnapshot(
        send=1250, sendByPeer=True, sendWaiting=15000, sendDropped=3, receive=None, receiveAgreed=True
    ),
    address="abcdef0123", name="berlin", bondingPolicyStr="rapid", configuredPolicy="office",
    peerPolicy="balance-xor", basePolicy="active-backup",
    linkSelectMethod="always", failoverInterval=1000, upDelay=0, downDelay=0, packetsPerLink=None,
    numAliveLinks=1, numTotalLinks=2, failoverEvents=7, activePath=0, session="up",
    numConnections=8, connections="1 + 7", connectionsPerPath=8, paths=(PATH, SILENT),
    metadataPath=0, peerViewMissing=None,
    peerView=PeerViewSnapshot(
        policy="office", policyBase="balance-xor", peerFailoverInterval=500, version="1.2",
        peerFeatures=("copies", "reports"), reports=7, reportAge=1.5, reportGap=120.0,
        reportLate=2.5, reportStall=0.5,
    ),
)  # fmt: skip
FULL = Snapshot(
    interface="mp0", node="0123456789", pid=42, adopted=True, uptime_s=1.5, tickLateMs=0.25,
    bonds=(
        BOND,
        replace(BOND, name=None, keys=None, rates=None, linkSelectMethod=None, activePath=None, paths=()),
    ),
    reasons={"tx_sent": 1, "rx_delivered": 2}, notes=("a note", "another"),
)  # fmt: skip
DEAF = replace(FULL, bonds=(replace(BOND, peerView=None, peerViewMissing="no report has come yet"),))
EMPTY = replace(FULL, bonds=(), reasons={}, notes=())


def through_json(snapshot: Snapshot) -> Snapshot:
    return from_json(json.loads(json.dumps(snapshot.as_json())))


def test_round_trip() -> None:
    assert through_json(FULL) == FULL
    assert through_json(EMPTY) == EMPTY
    assert through_json(DEAF) == DEAF


def test_what_comes_back_is_frozen_all_the_way_down() -> None:
    back = through_json(FULL)
    assert hash(back.bonds) == hash(FULL.bonds)
    assert hash(back.notes) == hash(FULL.notes)


@pytest.mark.parametrize("change", [{"later": 1}, {"bonds": None}, {"bonds": [{}]}])
def test_one_of_another_version_is_called_so(change: dict[str, Any]) -> None:
    data = {**FULL.as_json(), **change}
    with pytest.raises(UsageError, match="another version"):
        from_json(data)


def test_as_json_has_every_field() -> None:
    data = FULL.as_json()
    assert data.keys() == {field.name for field in fields(Snapshot)}
    assert data["bonds"][0].keys() == {field.name for field in fields(BondSnapshot)}
    assert data["bonds"][0]["peerView"].keys() == {field.name for field in fields(PeerViewSnapshot)}
    assert data["bonds"][0]["paths"][0].keys() == {field.name for field in fields(PathSnapshot)}


def test_a_bond_with_and_without_its_paths() -> None:
    whole, short = BOND.as_json(), BOND.as_json(with_paths=False)
    assert len(whole["paths"]) == 2
    assert whole.keys() - short.keys() == {"paths"}
