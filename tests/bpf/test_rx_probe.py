"""Probes that rx answers and answers that it takes, byte by byte."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from mpbond import abi, wire
from tests.bpf import packets, probes
from tests.bpf.probes import Probe, answer, frame
from tests.bpf.rig import REDIRECT, SHOT, XDP_PASS, Bond, BondSetup, PathSetup, Rig
from tests.bpf.siphash_ref import siphash24

pytestmark = pytest.mark.root

US = BondSetup(paths=(PathSetup(4), PathSetup(6)))
PROBE = Probe(sequence=0xFFFFFFFF, hold_us=7, sent_packets=10, received_packets=20, marks=0x4000_0103)


def local_path(rig: Rig, bond: Bond) -> list[int]:
    raw = rig.plane.maps["sessions"].get(bond.pair.rx.number)
    assert raw is not None
    return [int(path) for path in np.frombuffer(raw, abi.SESSION)[0]["local_path"]]


def answered(
    bond: Bond, family: int, probe: Probe, message: bytes, *, number: int = 0, **fields: int
) -> bytes:
    """The frame that must go back: everything swapped, TTL full, checksum right."""
    ends = {"src": packets.LOCAL[family], "dst": str(packets.peer_address(family, number))}
    udp = UDP(sport=packets.PORT, dport=packets.PORT, chksum=0) / Raw(message)
    if family == 4:
        outer = IP(**ends, **({"flags": "DF", "id": 0, "ttl": 64} | fields)) / udp
    else:
        outer = IPv6(**ends, **({"hlim": 64} | fields)) / udp
    return bytes(Ether(src=packets.MAC_LINK, dst=packets.MAC_ROUTER) / outer)


def message_of(frame_bytes: bytes) -> bytes:
    return frame_bytes[-probes.MESSAGE_LEN :]


FIELDS = [
    ("v4", 0, {}),
    ("v6", 1, {}),
    ("v4, TTL 1", 0, {"ttl": 1}),
    ("v4, TTL 255, TOS, id: the checksum folds", 0, {"ttl": 255, "tos": 0xB8, "id": 0xFFFF}),
    ("v6, hop limit 1, traffic class, flow label", 1, {"hlim": 1, "tc": 0xB8, "fl": 0xFFFFF}),
]


@pytest.mark.parametrize("hook", ["rx_tc", "rx_l3"])
@pytest.mark.parametrize(("path", "fields"), [case[1:] for case in FIELDS], ids=[case[0] for case in FIELDS])
def test_answer_made(rig: Rig, hook: str, path: int, fields: dict[str, int]) -> None:
    setups = tuple(replace(setup, link="wan0" if hook == "rx_tc" else "tun0") for setup in US.paths)
    bond = rig.bond(replace(US, paths=setups))
    rig.plane.path_stats["tx_packets"][bond.paths[path], 0] = 2**32 + 1000
    rig.plane.path_stats["rx_packets"][bond.paths[path], :] = 300
    before = probes.stamp(rig)
    probe = replace(PROBE, number=path)
    incoming = frame(bond, probe, path=path, **fields)
    if hook == "rx_tc":
        got = rig.run(hook, incoming)
        assert (got.verdict, got.reason) == (REDIRECT, "rx_probe_answered")
        outgoing = got.data
    else:
        rig.lab.inject("tun0", incoming[14:])
        outgoing = incoming[6:12] + incoming[:6] + incoming[12:14] + rig.lab.receive("tun0")
    taken = probes.parse(message_of(outgoing), bond.pair.tx)
    received = 300 * rig.plane.cpus
    wanted = replace(probe, kind=wire.TYPE_ANSWER, hold_us=0, sent_packets=1000, received_packets=received)
    assert replace(taken, answer_stamp=0) == replace(wanted, marks=probes.marks_of(bond, path))
    assert before <= taken.answer_stamp <= probes.stamp(rig)
    family = bond.setup.paths[path].family
    kept = {name: value for name, value in fields.items() if name not in ("ttl", "hlim")}
    expected = answered(bond, family, taken, taken.message(bond.pair.tx), number=path, **kept)
    assert outgoing.hex() == expected.hex()


@pytest.mark.parametrize("spare", [False, True], ids=["preferred", "spare"])
@pytest.mark.parametrize("policy", abi.PolicyCode)
def test_answer_tells_how_we_use_the_path(rig: Rig, policy: abi.PolicyCode, spare: bool) -> None:
    """Of the path that the probe came by: the other one is used otherwise."""
    setups = (PathSetup(spare=not spare), PathSetup(spare=spare))
    bond = rig.bond(BondSetup(policy=policy, paths=setups))
    got = rig.run("rx_tc", frame(bond, replace(PROBE, number=9), path=1))
    marks = probes.parse(message_of(got.data), bond.pair.tx).marks
    assert marks == 1 << 30 | spare << 8 | policy


def test_probe_is_noted_on_the_path_it_came_by(rig: Rig) -> None:
    """The peer calls 9 what is 1 for us."""
    bond = rig.bond(US)
    before = time.monotonic_ns()
    rig.run("rx_tc", frame(bond, replace(PROBE, number=9), path=1))
    live = rig.plane.paths_live[bond.paths[1]]
    assert before <= live["last_in_ns"] <= time.monotonic_ns()
    assert (live["peer_sent_packets"], live["peer_received_packets"]) == (10, 20)
    assert live["peer_marks"] == 0x4000_0103
    other = rig.plane.paths_live[bond.paths[0]]
    assert (other["last_in_ns"], other["peer_marks"]) == (0, 0)
    assert local_path(rig, bond)[9] == bond.paths[1]
    assert set(local_path(rig, bond)) == {abi.NO_PATH, bond.paths[1]}


def test_a_probe_alone_proves_nothing(rig: Rig) -> None:
    bond = rig.bond(US)
    proofs = [rig.proof_ns(path) for path in bond.paths]
    freshest = int(rig.plane.bonds_live["freshest_ns"][0])
    rig.run("rx_tc", frame(bond, PROBE))
    assert [rig.proof_ns(path) for path in bond.paths] == proofs
    assert rig.plane.bonds_live["freshest_ns"][0] == freshest


UNKNOWN_PLACES = [
    ("an address of no path", {"src": packets.NOBODY4}, {}),
    ("another link", {}, {"ifindex": 1}),
]


@pytest.mark.parametrize(
    ("fields", "context"), [case[1:] for case in UNKNOWN_PLACES], ids=[case[0] for case in UNKNOWN_PLACES]
)
def test_probe_from_elsewhere_is_answered_but_moves_no_path(
    rig: Rig, fields: dict[str, int], context: dict[str, int]
) -> None:
    """A peer behind a NAT that has just changed its mind gets to know that we live."""
    bond = rig.bond(US)
    got = rig.run("rx_tc", frame(bond, PROBE, **fields), **context)
    assert (got.verdict, got.reason) == (REDIRECT, "rx_probe_answered")
    taken = probes.parse(message_of(got.data), bond.pair.tx)
    assert (taken.sent_packets, taken.received_packets) == (0, 0)
    assert taken.marks == probes.marks_of(bond)
    assert not any(rig.plane.paths_live["last_in_ns"][path] for path in bond.paths)
    assert not any(rig.plane.paths_live["peer_marks"][path] for path in bond.paths)


@pytest.mark.parametrize("number", [127, 128, 255])
def test_probe_with_a_high_path_number(rig: Rig, number: int) -> None:
    bond = rig.bond(US)
    assert rig.run("rx_tc", frame(bond, replace(PROBE, number=number))).reason == "rx_probe_answered"
    assert local_path(rig, bond)[127] == (bond.paths[0] if number == 127 else abi.NO_PATH)


@pytest.mark.parametrize("kind", [wire.TYPE_PROBE, wire.TYPE_ANSWER], ids=["probe", "answer"])
def test_any_changed_bit_fails_the_check(rig: Rig, kind: int) -> None:
    bond = rig.bond(US)
    good = frame(bond, replace(answer(rig), kind=kind))
    first = len(good) - probes.MESSAGE_LEN
    # Version, type and flags, and the session number end sooner; they are rx's table's.
    for at in [*range(first + 2, first + 8), *range(first + 16, len(good))]:
        for bit in range(8):
            bad = good[:at] + bytes([good[at] ^ 1 << bit]) + good[at + 1 :]
            got = rig.run("rx_tc", bad)
            assert (got.verdict, got.reason, got.data) == (SHOT, "rx_bad_mac", bad)
    assert all(rig.plane.paths_live["last_in_ns"][path] == 0 for path in bond.paths)


def test_probe_made_an_answer_fails_the_check(rig: Rig) -> None:
    """And the MAC of the other direction is no good either: no reflections."""
    bond = rig.bond(US)
    sent = Probe(sent_stamp=probes.stamp(rig)).message(bond.pair.tx)
    reflected = wire.bond_header(bond.pair.rx.number, 0, kind=wire.TYPE_ANSWER, sequence=1) + sent[16:]
    assert rig.run("rx_tc", packets.framed(packets.outer(4, reflected))).reason == "rx_bad_mac"
    turned = bytearray(frame(bond, Probe(sent_stamp=probes.stamp(rig))))
    turned[14 + 28] = wire.VERSION << 4 | wire.TYPE_ANSWER
    assert rig.run("rx_tc", bytes(turned)).reason == "rx_bad_mac"


@pytest.mark.parametrize("kind", [wire.TYPE_PROBE, wire.TYPE_ANSWER], ids=["probe", "answer"])
@pytest.mark.parametrize("hook", ["rx_tc", "rx_xdp"])
@pytest.mark.parametrize("flag", [1 << bit for bit in range(8)])
def test_no_flag_is_for_probes(rig: Rig, flag: int, hook: str, kind: int) -> None:
    """Not even that of copies, and not even with the right MAC."""
    bond = rig.bond(US)
    message = bytearray(replace(answer(rig), kind=kind).message(bond.pair.rx)[: -probes.MAC_LEN])
    message[1] = flag
    message += siphash24(bond.pair.rx.mac_key, bytes(message))
    assert rig.run(hook, packets.framed(packets.outer(4, bytes(message)))).reason == "rx_bad_type"
    assert not rig.plane.paths_live["last_in_ns"][bond.paths[0]]


@pytest.mark.parametrize("missing", [1, 8, 39, 40])
def test_cut_probe(rig: Rig, missing: int) -> None:
    bond = rig.bond(US)
    assert rig.run("rx_tc", frame(bond, PROBE)[:-missing]).reason == "rx_truncated"


# ---- answers ------------------------------------------------------------------------


@pytest.mark.parametrize("path", [0, 1], ids=["v4", "v6"])
def test_answer_taken(rig: Rig, path: int) -> None:
    bond = rig.bond(US)
    told = answer(rig, age_ns=30_000_000, number=path, stamped=4711, marks=0x4000_0104)
    incoming = frame(bond, told, path=path)
    before = time.monotonic_ns()
    got = rig.run("rx_tc", incoming)
    assert (got.verdict, got.reason, got.data) == (SHOT, "rx_answer_taken", incoming)
    live = rig.plane.paths_live[bond.paths[path]]
    assert (live["answer_stamp"], live["probes_answered"], live["rtt_count"]) == (4711, 1, 1)
    assert 30_000_000 <= live["rtt_ns"][0] < 2_000_000_000
    assert before <= live["answer_at_ns"] == live["last_in_ns"] == live["proof_at_ns"] <= time.monotonic_ns()
    assert (live["peer_sent_packets"], live["peer_received_packets"]) == (5, 0)
    assert live["peer_marks"] == 0x4000_0104
    assert rig.plane.paths_live["peer_marks"][bond.paths[1 - path]] == 0


REFUSED = [
    ("a minute old", "rx_stale_answer", {"age_ns": 60_500_000_000}),
    ("from the future", "rx_stale_answer", {"age_ns": -5_000_000_000}),
    ("a number of ours that is no path", "rx_unknown_path", {"number": 2}),
    ("the last number of the block", "rx_unknown_path", {"number": 19}),
    ("the next bond's first path", "rx_unknown_path", {"number": 20}),
    ("number 255", "rx_unknown_path", {"number": 255}),
]


@pytest.mark.parametrize(
    ("reason", "fields"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_answer_refused(rig: Rig, reason: str, fields: dict[str, int]) -> None:
    bond = rig.bond(US)
    rig.bond(BondSetup(index=1, allowed=()))
    before = rig.plane.paths_live.copy(), rig.plane.bonds_live.copy()
    got = rig.run("rx_tc", frame(bond, answer(rig, **fields)))
    assert (got.verdict, got.reason) == (SHOT, reason)
    assert (rig.plane.paths_live == before[0]).all()
    assert (rig.plane.bonds_live == before[1]).all()


def test_replayed_answer(rig: Rig) -> None:
    bond = rig.bond(US)
    incoming = frame(bond, answer(rig, 5))
    assert rig.run("rx_tc", incoming).reason == "rx_answer_taken"
    proof = rig.proof_ns(bond.paths[0])
    rig.plane.bonds_live["clock_ns"][0] += 1000
    assert rig.run("rx_tc", incoming).reason == "rx_stale_answer"
    assert rig.proof_ns(bond.paths[0]) == proof
    # Late ones count as long as they are within the window, each once.
    assert rig.run("rx_tc", frame(bond, answer(rig, 4))).reason == "rx_answer_taken"
    assert rig.run("rx_tc", frame(bond, answer(rig, 100))).reason == "rx_answer_taken"
    assert rig.run("rx_tc", frame(bond, answer(rig, 36))).reason == "rx_stale_answer"
    assert rig.run("rx_tc", frame(bond, answer(rig, 37))).reason == "rx_answer_taken"


@pytest.mark.parametrize("kind", [wire.TYPE_PROBE, wire.TYPE_ANSWER], ids=["probe", "answer"])
@pytest.mark.parametrize("path", [0, 1], ids=["v4", "v6"])
def test_xdp_leaves_probes_to_tc(rig: Rig, path: int, kind: int) -> None:
    bond = rig.bond(US)
    incoming = frame(bond, replace(answer(rig, number=path), kind=kind), path=path)
    bad = incoming[:-1] + bytes([incoming[-1] ^ 1])
    for one in (incoming, bad):
        got = rig.run("rx_xdp", one)
        assert (got.verdict, got.reason, got.data) == (XDP_PASS, "rx_to_tc", one)
