"""Control frames at rx: which ones are let up to the controller, how they arrive there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

import numpy as np
import pytest

from mpbond import abi, wire
from mpbond.kernel.ring import HandshakeRing
from tests.bpf import packets
from tests.bpf.packets import LOCAL, framed, outer
from tests.bpf.rig import SHOT, XDP_PASS, Bond, BondSetup, PathSetup, Rig

pytestmark = pytest.mark.root

MADE_NS = 1234
# Counter and tag: nothing shorter is a frame.
SHORTEST, LONGEST = 8 + 16, abi.HANDSHAKE_MAX - wire.HEADER_LEN


def set_session(rig: Rig, bond: Bond, **fields: int) -> None:
    number = bond.pair.rx.number
    raw = rig.plane.maps["sessions"].get(number)
    assert raw is not None
    value = np.frombuffer(raw, abi.SESSION)[0].copy()
    for name, field in fields.items():
        value[name] = field
    rig.plane.maps["sessions"].put(number, value.tobytes())


@pytest.fixture
def bond(rig: Rig) -> Bond:
    """Its session came of a handshake."""
    made = rig.bond(BondSetup(paths=(PathSetup(4), PathSetup(6))))
    set_session(rig, made, made_ns=MADE_NS)
    return made


@pytest.fixture
def ring(rig: Rig, bond: Bond) -> Iterator[HandshakeRing]:
    found = HandshakeRing(rig.plane.maps["handshakes"])
    while found.take():
        pass
    yield found
    found.close()


def payload(
    bond: Bond, body: bytes = bytes(range(60)), *, number: bytes = b"", kind: int = wire.TYPE_CONTROL
) -> bytes:
    return wire.bond_header(number or bond.pair.rx.number, 7, kind=kind) + body


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("length", [SHORTEST, 60, LONGEST])
def test_a_frame_arrives_as_it_was_sent(
    rig: Rig, ring: HandshakeRing, bond: Bond, family: int, length: int
) -> None:
    sent = payload(bond, bytes(length))
    found = rig.run("rx_tc", framed(outer(family, sent)))
    assert (found.reason, found.verdict) == ("rx_control", SHOT)
    taken = ring.take()
    assert taken is not None and ring.take() is None
    data, way = taken
    assert data == sent
    assert (way.ifindex, way.port) == (rig.lab.ifindex["wan0"], packets.PORT)
    assert (way.local, way.remote) == (ip_address(LOCAL[family]), packets.peer_address(family, 0))


def test_xdp_leaves_it_to_tc(rig: Rig, ring: HandshakeRing, bond: Bond) -> None:
    found = rig.run("rx_xdp", framed(outer(4, payload(bond))))
    assert (found.reason, found.verdict) == ("rx_to_tc", XDP_PASS)


@dataclass(frozen=True)
class Case:
    what: str
    reason: str
    body: bytes = bytes(60)
    number: bytes = b""
    first: bytes = b""


NOT_TAKEN = [
    Case("no session of ours", "rx_unknown_session", number=b"\1" * 8),
    Case("shorter than counter and tag", "rx_bad_type", body=bytes(SHORTEST - 1)),
    Case("nothing behind the header", "rx_bad_type", body=b""),
    Case("longer than any", "rx_bad_type", body=bytes(LONGEST + 1)),
    Case("a flag", "rx_bad_type", first=bytes([wire.VERSION << 4 | wire.TYPE_CONTROL, 1])),
    Case("another version", "rx_bad_version", first=bytes([2 << 4 | wire.TYPE_CONTROL, 0])),
    Case("a handshake's type", "rx_bad_type", first=bytes([wire.VERSION << 4 | wire.TYPE_HANDSHAKE, 0])),
    Case("an unknown type", "rx_bad_type", first=bytes([wire.VERSION << 4 | 5, 0])),
]


@pytest.mark.parametrize("case", NOT_TAKEN, ids=lambda case: case.what)
def test_not_taken(rig: Rig, ring: HandshakeRing, bond: Bond, case: Case) -> None:
    sent = payload(bond, case.body, number=case.number)
    found = rig.run("rx_tc", framed(outer(4, case.first + sent[len(case.first) :])))
    assert (found.reason, found.verdict) == (case.reason, SHOT)
    assert ring.take() is None


def test_under_a_shared_keys_session_there_are_none(rig: Rig, ring: HandshakeRing, bond: Bond) -> None:
    set_session(rig, bond, made_ns=0)
    assert rig.run("rx_tc", framed(outer(4, payload(bond)))).reason == "rx_bad_type"
    assert ring.take() is None


def test_it_counts_for_no_path_and_proves_nothing(rig: Rig, ring: HandshakeRing, bond: Bond) -> None:
    before = rig.plane.paths_live[bond.paths].tobytes(), rig.path_packets(bond, "rx")
    rig.run("rx_tc", framed(outer(4, payload(bond))))
    assert (rig.plane.paths_live[bond.paths].tobytes(), rig.path_packets(bond, "rx")) == before


def test_a_flood_under_one_session_leaves_the_other_alone(rig: Rig, ring: HandshakeRing, bond: Bond) -> None:
    other = rig.bond(BondSetup(index=1, allowed=("10.2.0.0/16",)))
    set_session(rig, other, made_ns=MADE_NS)
    flood = rig.fast("rx_tc", rig.lab.ifindex["wan0"])
    packet = framed(outer(4, payload(bond)))
    for _ in range(1000):
        flood(packet)
        while ring.take():
            pass
    counts = rig.counts()
    # What was saved up, and what a second and more of this machine's allows.
    assert abi.CONTROL_BURST <= counts["rx_control"] <= abi.CONTROL_BURST + 3 * abi.CONTROL_HZ
    assert counts["rx_control"] + counts["rx_control_limited"] == 1000
    assert rig.run("rx_tc", framed(outer(4, payload(other)))).reason == "rx_control"


def test_in_time_again_after_the_flood(rig: Rig, ring: HandshakeRing, bond: Bond) -> None:
    set_session(rig, bond, control_next_ns=2**63)
    assert rig.run("rx_tc", framed(outer(4, payload(bond)))).reason == "rx_control_limited"
    set_session(rig, bond, control_next_ns=0)
    assert rig.run("rx_tc", framed(outer(4, payload(bond)))).reason == "rx_control"


def test_a_ring_that_nobody_reads(rig: Rig, ring: HandshakeRing, bond: Bond) -> None:
    packet, reasons = framed(outer(4, payload(bond))), set()
    for _ in range(1200):
        set_session(rig, bond, control_next_ns=0)
        reasons.add(rig.run("rx_tc", packet).reason)
        if "rx_control_limited" in reasons:
            break
    assert reasons == {"rx_control", "rx_control_limited"}
