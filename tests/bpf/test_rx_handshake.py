"""Handshake messages at rx: who is let up to the controller, how they arrive there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

import pytest

from mpbond import abi, wire
from mpbond.kernel.ring import HandshakeRing
from tests.bpf import packets
from tests.bpf.packets import LOCAL, framed, outer
from tests.bpf.rig import SHOT, UNSPEC, XDP_PASS, Bond, BondSetup, PathSetup, Rig

pytestmark = pytest.mark.root

TAG = bytes.fromhex("f00df00df00df00d")
BODY = bytes(range(200))


def message(body: bytes = BODY, *, tag: bytes = TAG, kind: int = wire.TYPE_HANDSHAKE) -> bytes:
    return wire.bond_header(tag, 0, kind=kind) + body


def frame(payload: bytes | None = None, family: int = 4, **fields: object) -> bytes:
    return framed(outer(family, message() if payload is None else payload, **fields))  # type: ignore[arg-type]


@pytest.fixture
def bond(rig: Rig) -> Bond:
    rig.plane.node["handshake_tag"] = int.from_bytes(TAG, "little")
    table = rig.plane.maps["handshake_next"]
    for key in table.all_keys():
        table.put(key, bytes(8))
    return rig.bond(BondSetup(paths=(PathSetup(4), PathSetup(6))))


@pytest.fixture
def ring(rig: Rig, bond: Bond) -> Iterator[HandshakeRing]:
    found = HandshakeRing(rig.plane.maps["handshakes"])
    while found.take():
        pass
    yield found
    found.close()


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("body", [b"", b"x", BODY, bytes(400)])
def test_a_message_arrives_as_it_was_sent(rig: Rig, ring: HandshakeRing, family: int, body: bytes) -> None:
    found = rig.run("rx_tc", frame(message(body), family))
    assert (found.reason, found.verdict) == ("rx_handshake", SHOT)
    taken = ring.take()
    assert taken is not None
    data, way = taken
    assert data == message(body)
    assert (way.ifindex, way.port) == (rig.lab.ifindex["wan0"], packets.PORT)
    assert (way.local, way.remote) == (ip_address(LOCAL[family]), packets.peer_address(family, 0))
    assert ring.take() is None


def test_xdp_leaves_it_to_tc(rig: Rig, ring: HandshakeRing) -> None:
    found = rig.run("rx_xdp", frame())
    assert (found.reason, found.verdict) == ("rx_to_tc", XDP_PASS)


@dataclass(frozen=True)
class Case:
    what: str
    reason: str
    payload: bytes


NOT_TAKEN = [
    Case("another's tag", "rx_unknown_session", message(tag=b"\1" * 8)),
    Case("our tag as a data packet's session", "rx_unknown_session", message(kind=wire.TYPE_DATA)),
    Case("our tag as a probe's session", "rx_unknown_session", message(kind=wire.TYPE_PROBE)),
    Case("an unknown type", "rx_unknown_session", message(kind=4)),
    Case("a flag", "rx_unknown_session", message()[:1] + b"\1" + message()[2:]),
    Case("longer than any", "rx_bad_type", message(bytes(401))),
]


@pytest.mark.parametrize("case", NOT_TAKEN, ids=lambda case: case.what)
def test_not_taken(rig: Rig, ring: HandshakeRing, case: Case) -> None:
    found = rig.run("rx_tc", frame(case.payload))
    assert (found.reason, found.verdict) == (case.reason, SHOT)
    assert ring.take() is None


def test_a_sessions_number_is_no_tag(rig: Rig, ring: HandshakeRing, bond: Bond) -> None:
    found = rig.run("rx_tc", frame(message(tag=bond.pair.rx.number)))
    assert (found.reason, found.verdict) == ("rx_bad_type", SHOT)


def test_passing_through_to_somebody_else(rig: Rig, ring: HandshakeRing) -> None:
    found = rig.run("rx_tc", frame(dst="192.0.2.99"))
    assert (found.reason, found.verdict) == ("rx_not_ours", UNSPEC)
    assert ring.take() is None


def test_without_a_key_pair_nothing_is_a_handshake(rig: Rig, ring: HandshakeRing) -> None:
    rig.plane.node["handshake_tag"] = 0
    for tag in (TAG, bytes(8)):
        assert rig.run("rx_tc", frame(message(tag=tag))).reason == "rx_unknown_session"


def test_an_address_that_floods_is_limited_others_are_not(rig: Rig, ring: HandshakeRing) -> None:
    flood = rig.fast("rx_tc", rig.lab.ifindex["wan0"])
    packet = frame()
    for _ in range(1000):
        flood(packet)
    counts = rig.counts()
    # What was saved up, and what a second and more of this machine's allows.
    assert abi.HANDSHAKE_BURST <= counts["rx_handshake"] <= abi.HANDSHAKE_BURST + 5 * abi.HANDSHAKE_HZ
    assert counts["rx_handshake"] + counts["rx_handshake_limited"] == 1000
    for number in range(1, 6):
        assert rig.run("rx_tc", frame(number=number)).reason == "rx_handshake"


def test_a_ring_that_nobody_reads_fills_and_empties(rig: Rig, ring: HandshakeRing) -> None:
    table = rig.plane.maps["handshake_next"]
    flood = rig.fast("rx_tc", rig.lab.ifindex["wan0"])
    packet = frame(message(bytes(400)))
    for _ in range(40):
        for key in table.all_keys():
            table.put(key, bytes(8))
        for _ in range(abi.HANDSHAKE_BURST):
            flood(packet)
    counts = rig.counts()
    assert counts["rx_handshake_limited"] > 0 and counts["rx_handshake"] > 100
    taken = 0
    while ring.take():
        taken += 1
    assert taken == counts["rx_handshake"]
    for key in table.all_keys():
        table.put(key, bytes(8))
    assert rig.run("rx_tc", packet).reason == "rx_handshake" and ring.take()
