"""What proves that a path lives, and the clock that proofs are dated by."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from mpbond import abi
from tests.bpf import probes
from tests.bpf.probes import Probe, answer, frame
from tests.bpf.rig import CLOCK_NS, SECOND_NS, Bond, BondSetup, PathSetup, Rig

pytestmark = pytest.mark.root

US = BondSetup(paths=(PathSetup(4), PathSetup(6)))
MS = 1_000_000
# Room for whatever a busy machine puts between two lines of a test.
SLACK_NS = 2 * SECOND_NS
STALL_NS = 100 * SECOND_NS


def set_up(rig: Rig) -> Bond:
    """A bond on which a probe came a moment ago, and stalls take long."""
    bond = rig.bond(US)
    rig.plane.bonds["stall_ns"][0] = STALL_NS
    rig.plane.bonds["rtt_max_ns"][0] = 50 * MS
    rig.plane.bonds_live["clock_read_ns"][0] = time.monotonic_ns()
    return bond


def ack(rig: Rig, age_ns: int = 0, hold_us: int = 0, number: int = 0) -> Probe:
    """A probe that acknowledges the answer that we made `age_ns` ago."""
    return Probe(number=number, answer_stamp=probes.stamp(rig, age_ns), hold_us=hold_us)


def clock_ns(rig: Rig) -> int:
    return int(rig.plane.bonds_live["clock_ns"][0])


def take(rig: Rig, bond: Bond, probe: Probe, path: int = 0) -> str:
    return rig.run("rx_tc", frame(bond, probe, path=path)).reason


# ---- proofs -------------------------------------------------------------------------


def test_answer_proves(rig: Rig) -> None:
    bond = set_up(rig)
    rig.plane.bonds_live["clock_ns"][0] = CLOCK_NS + 5 * SECOND_NS
    take(rig, bond, answer(rig, number=1), path=1)
    live = rig.plane.bonds_live[0]
    assert rig.proof_ns(bond.paths[1]) == live["freshest_ns"] == CLOCK_NS + 5 * SECOND_NS
    assert live["last_alive_path"] == bond.paths[1]
    assert rig.proof_ns(bond.paths[0]) == CLOCK_NS, "the other path is as old as before"


def test_answer_does_not_move_the_clock(rig: Rig) -> None:
    """Only probing does, ours or the peer's: an answer is no new sign of it."""
    bond = set_up(rig)
    rig.plane.bonds_live["clock_read_ns"][0] = 1
    take(rig, bond, answer(rig))
    assert (clock_ns(rig), rig.plane.bonds_live["clock_read_ns"][0]) == (CLOCK_NS, 1)


def test_acknowledgement_proves_by_its_hold(rig: Rig) -> None:
    """The peer says how long ago our answer came: the proof is that old."""
    bond = set_up(rig)
    held = ack(rig, age_ns=500 * MS, hold_us=400_000)
    rig.plane.bonds_live["clock_ns"][0] = CLOCK_NS + 10 * SECOND_NS
    before = time.monotonic_ns()
    take(rig, bond, held)
    live = rig.plane.paths_live[bond.paths[0]]
    assert 0 <= int(live["proof_ns"]) - (CLOCK_NS + 10 * SECOND_NS - 400 * MS) < SLACK_NS
    assert 0 <= int(live["proof_at_ns"]) + 400 * MS - before < SLACK_NS
    assert live["acked_stamp"] == held.answer_stamp
    assert rig.plane.bonds_live["freshest_ns"][0] == live["proof_ns"]


def test_acknowledgement_proves_the_path_that_it_came_by(rig: Rig) -> None:
    bond = set_up(rig)
    rig.plane.bonds_live["clock_ns"][0] = CLOCK_NS + SECOND_NS
    take(rig, bond, ack(rig, number=5), path=1)
    assert rig.proof_ns(bond.paths[1]) > CLOCK_NS
    assert rig.proof_ns(bond.paths[0]) == CLOCK_NS


def test_acknowledgement_of_an_older_answer_does_not_take_a_proof_back(rig: Rig) -> None:
    bond = set_up(rig)
    take(rig, bond, ack(rig, age_ns=9 * SECOND_NS, hold_us=9_000_000))
    assert rig.proof_ns(bond.paths[0]) == CLOCK_NS
    assert rig.plane.bonds_live["freshest_ns"][0] == CLOCK_NS


def test_hold_longer_than_the_clock_has_run(rig: Rig) -> None:
    bond = set_up(rig)
    live = rig.plane.bonds_live
    live["clock_ns"][0] = live["freshest_ns"][0] = rig.plane.paths_live["proof_ns"][bond.paths[0]] = 0
    live["clock_hold_ns"][0] = time.monotonic_ns() + 100 * SECOND_NS
    take(rig, bond, ack(rig, hold_us=0xFFFFFFFF))
    assert rig.proof_ns(bond.paths[0]) == live["freshest_ns"][0] == 1


PROVES_NOTHING = [
    ("no answer to acknowledge", {"zero": True}),
    ("over a minute old", {"age_ns": 61 * SECOND_NS}),
    ("from the future", {"age_ns": -5 * SECOND_NS}),
    ("of an earlier run: another offset", {"age_ns": 10**17}),
]


@pytest.mark.parametrize(
    "fields", [case[1] for case in PROVES_NOTHING], ids=[case[0] for case in PROVES_NOTHING]
)
def test_acknowledgement_that_proves_nothing(rig: Rig, fields: dict[str, int]) -> None:
    bond = set_up(rig)
    rig.plane.bonds_live["clock_ns"][0] += SECOND_NS
    probe = Probe() if "zero" in fields else ack(rig, **fields)
    assert take(rig, bond, probe) == "rx_probe_answered"
    assert rig.proof_ns(bond.paths[0]) == rig.plane.bonds_live["freshest_ns"][0] == CLOCK_NS
    assert rig.plane.paths_live["acked_stamp"][bond.paths[0]] == 0


def test_replayed_acknowledgement_proves_nothing(rig: Rig) -> None:
    bond = set_up(rig)
    older, newer = ack(rig, age_ns=20 * MS), ack(rig, age_ns=10 * MS)
    take(rig, bond, newer)
    proof = rig.proof_ns(bond.paths[0])
    rig.plane.bonds_live["clock_ns"][0] += SECOND_NS
    for replayed in (newer, older, replace(newer, sequence=2)):
        assert take(rig, bond, replayed) == "rx_probe_answered"
        assert rig.proof_ns(bond.paths[0]) == proof
    take(rig, bond, ack(rig, age_ns=5 * MS))
    assert rig.proof_ns(bond.paths[0]) > proof


# ---- the clock -------------------------------------------------------------------------


def advance(rig: Rig, bond: Bond, since_ns: int) -> int:
    """By how much the clock moves at a probe `since_ns` after the one before."""
    before = clock_ns(rig)
    rig.plane.bonds_live["clock_read_ns"][0] = time.monotonic_ns() - since_ns
    following = int(rig.plane.fars["newest"][0]) + 1
    assert take(rig, bond, Probe(sequence=following)) == "rx_probe_answered"
    return clock_ns(rig) - before


def test_clock_runs_while_probes_come(rig: Rig) -> None:
    bond = set_up(rig)
    assert 0 <= advance(rig, bond, 3 * SECOND_NS) - 3 * SECOND_NS < SLACK_NS
    assert 0 <= advance(rig, bond, 0) < SLACK_NS


def test_clock_stands_in_a_stall_and_a_round_trip_after(rig: Rig) -> None:
    bond = set_up(rig)
    rig.plane.bonds["rtt_max_ns"][0] = 30 * SECOND_NS
    before = time.monotonic_ns()
    assert advance(rig, bond, STALL_NS + SECOND_NS) == 0
    hold = int(rig.plane.bonds_live["clock_hold_ns"][0])
    assert 0 <= hold - before - 30 * SECOND_NS < SLACK_NS
    assert advance(rig, bond, 20 * MS) == 0, "answers of the slowest path are still on the way"
    rig.plane.bonds_live["clock_hold_ns"][0] = time.monotonic_ns()
    assert advance(rig, bond, 20 * MS) >= 20 * MS


def test_first_probe_ever_counts_as_the_end_of_a_stall(rig: Rig) -> None:
    bond = set_up(rig)
    rig.plane.bonds_live["clock_read_ns"][0] = 0
    assert take(rig, bond, Probe()) == "rx_probe_answered"
    assert clock_ns(rig) == CLOCK_NS
    assert rig.plane.bonds_live["clock_hold_ns"][0] > time.monotonic_ns() - SLACK_NS


def test_clock_never_goes_back(rig: Rig) -> None:
    """Another CPU may have read the time later and been here first."""
    bond = set_up(rig)
    assert advance(rig, bond, -SECOND_NS) == 0
    readings = []
    for _ in range(50):
        take(rig, bond, Probe())
        readings.append(clock_ns(rig))
    assert readings == sorted(readings)


def test_the_other_bonds_clock_stands(rig: Rig) -> None:
    bond = set_up(rig)
    rig.bond(BondSetup(index=1, allowed=()))
    advance(rig, bond, SECOND_NS)
    assert rig.plane.bonds_live["clock_ns"][1] == CLOCK_NS


def test_forged_probe_moves_no_clock(rig: Rig) -> None:
    bond = set_up(rig)
    rig.plane.bonds_live["clock_read_ns"][0] -= SECOND_NS
    bad = bytearray(frame(bond, Probe()))
    bad[-1] ^= 1
    assert rig.run("rx_tc", bytes(bad)).reason == "rx_bad_mac"
    assert clock_ns(rig) == CLOCK_NS


# ---- round trips -------------------------------------------------------------------------


def test_rtt_ring(rig: Rig) -> None:
    """The newest 64, oldest overwritten first; the count goes on."""
    bond = set_up(rig)
    live = rig.plane.paths_live[bond.paths[0]]
    for sequence in range(1, 71):
        take(rig, bond, answer(rig, sequence, age_ns=sequence * 100 * MS))
    assert (live["rtt_count"], live["probes_answered"]) == (70, 70)
    tenths = np.asarray(live["rtt_ns"], np.int64) // (100 * MS)
    wanted = np.array([sequence + 64 if sequence <= 6 else sequence for sequence in range(1, 65)])
    # The field holds 4.29 s; what took longer is as long as it can say.
    highest = 0xFFFFFFFF // (100 * MS)
    assert (tenths - np.minimum(wanted, highest) <= SLACK_NS // (100 * MS)).all()
    assert (tenths >= np.minimum(wanted, highest)).all()
    assert int(live["rtt_ns"][0]) == 0xFFFFFFFF
    assert len(live["rtt_ns"]) == abi.RTT_SAMPLES


def test_failover_as_a_whole(rig: Rig) -> None:
    """Answers on one path only: the other is left after failoverInterval of them."""
    bond = rig.bond(replace(US, policy=abi.PolicyCode.ACTIVE_BACKUP, failover_ms=1000))
    steps = 0
    while rig.plane.bonds_live["active_path"][0] != bond.paths[1]:
        rig.plane.bonds_live["clock_ns"][0] += 100 * MS
        take(rig, bond, answer(rig, steps + 1, number=1), path=1)
        rig.send_one(bond)
        steps += 1
    assert steps == 11
