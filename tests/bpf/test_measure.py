"""What answers and damaged probes tell of a path: one-way delay, data lost, errors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mpbond import abi
from mpbond.wire import DAMAGE_SEEN, HEADER_LEN, PROBE_LEN
from tests.bpf import packets, probes
from tests.bpf.probes import Probe, answer, frame
from tests.bpf.rig import Bond, BondSetup, PathSetup, Rig

pytestmark = pytest.mark.root

US = BondSetup(paths=(PathSetup(4), PathSetup(6)))
OUTER_LEN = 14 + 20 + 8


def set_up(rig: Rig) -> Bond:
    """Our paths with nothing measured yet, known to the peer's numbers."""
    bond = rig.bond(US)
    rig.learn(bond)
    rig.plane.paths_live[bond.paths] = np.zeros((), abi.PATH_LIVE)
    return bond


def test_forward_delay_is_the_peers_stamp_less_ours(rig: Rig) -> None:
    bond = set_up(rig)
    for sequence in (1, 2):
        made = replace(answer(rig, sequence), answer_stamp=10**18 + sequence, sent_stamp=probes.stamp(rig))
        assert rig.run("rx_tc", frame(bond, made)).reason == "rx_answer_taken"
        live = rig.plane.paths_live[bond.paths[0]]
        forward = (made.answer_stamp - made.sent_stamp) % 2**64
        assert int(live["forward_ns"][sequence - 1]) == forward
        assert live["rtt_count"] == sequence


@pytest.mark.parametrize(
    ("sequence", "pair"), [(7, (70, 65)), (71, (71, 65))], ids=["seventh", "its place in the ring is reused"]
)
def test_data_is_counted_between_two_moments_of_the_path(
    rig: Rig, sequence: int, pair: tuple[int, int]
) -> None:
    bond = set_up(rig)
    live = rig.plane.paths_live[bond.paths[0]]
    live["sent_at"][sequence % abi.RTT_SAMPLES] = pair[0]
    taken = replace(answer(rig, sequence), received_packets=pair[1])
    assert rig.run("rx_tc", frame(bond, taken)).reason == "rx_answer_taken"
    assert (int(live["paired_sent"]), int(live["paired_received"])) == pair


def test_a_probe_notes_what_was_sent_before_it(rig: Rig) -> None:
    bond = set_up(rig)
    rig.plane.path_stats[bond.paths[0]] = np.zeros((), abi.PATH_STATS)
    rig.plane.path_stats["tx_packets"][bond.paths[0]][0] = 41
    live = rig.plane.paths_live[bond.paths[0]]
    rig.run("probe", packets.ether(packets.tcp4()), ingress_ifindex=1, mark=0x6D700000 | bond.paths[0])
    assert (int(live["probes_sent"]), int(live["sent_at"][1])) == (1, 41)


def test_a_late_answer_does_not_set_the_pair_back(rig: Rig) -> None:
    bond = set_up(rig)
    live = rig.plane.paths_live[bond.paths[0]]
    live["sent_at"][:] = np.arange(abi.RTT_SAMPLES) * 10
    for sequence, received in ((9, 88), (8, 77)):
        rig.run("rx_tc", frame(bond, replace(answer(rig, sequence), received_packets=received)))
    assert (int(live["paired_sent"]), int(live["paired_received"])) == (90, 88)


@pytest.mark.parametrize("kind", ["probe", "answer"])
def test_what_passes_is_counted(rig: Rig, kind: str) -> None:
    bond = set_up(rig)
    rig.run("rx_tc", frame(bond, Probe() if kind == "probe" else answer(rig)))
    live = rig.plane.paths_live[bond.paths[0]]
    assert (int(live["checked"]), int(live["failed"])) == (1, 0)


def damaged(whole: bytes, offset: int, bit: int = 0x80) -> bytes:
    """One bit of the UDP payload turned."""
    at = OUTER_LEN + offset
    return whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :]


DAMAGE = [
    ("version", 0, 1, "rx_bad_version"),
    ("flag", 1, 1, "rx_bad_type"),
    ("sequence", 5, 1, "rx_bad_mac"),
    ("stamp", 20, 1, "rx_bad_mac"),
    ("MAC", 55, 1, "rx_bad_mac"),
    # Anybody can send this.
    ("session", 9, 0, "rx_unknown_session"),
]


@pytest.mark.parametrize(
    ("offset", "failed", "reason"), [case[1:] for case in DAMAGE], ids=[case[0] for case in DAMAGE]
)
def test_damaged_probe(rig: Rig, offset: int, failed: int, reason: str) -> None:
    bond = set_up(rig)
    assert rig.run("rx_tc", damaged(frame(bond, Probe()), offset)).reason == reason
    live = rig.plane.paths_live[bond.paths[0]]
    assert (int(live["checked"]), int(live["failed"])) == (0, failed)


def test_the_share_of_damage_that_is_seen(rig: Rig) -> None:
    """Every bit of a probe in turn: what `per` is corrected by."""
    bond = set_up(rig)
    whole = frame(bond, Probe())
    bits = range(8 * (HEADER_LEN + PROBE_LEN))
    for bit in bits:
        rig.run("rx_tc", damaged(whole, bit // 8, 1 << bit % 8))
    seen = int(rig.plane.paths_live["failed"][bond.paths[0]])
    # A bit makes it a data packet, another type or path number may be as good as its own.
    assert abs(seen - DAMAGE_SEEN * len(bits)) <= 3


def test_damaged_data_is_not_counted(rig: Rig) -> None:
    """Of data little is checked: counted, it would hide behind what passes unseen."""
    bond = set_up(rig)
    data = packets.data(4, bond.pair.rx.number, packets.reply4(200))
    assert rig.run("rx_tc", damaged(data, 1)).reason == "rx_bad_type"
    assert int(rig.plane.paths_live[bond.paths[0]]["failed"]) == 0
