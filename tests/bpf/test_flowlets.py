"""balance-aware: when a flow leaves its path for that of its slot, and what is counted."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass

import numpy as np
import pytest

from mpbond import abi
from mpbond.kernel.dataplane import FORWARD_UNKNOWN_US
from mpbond.kernel.sizes import coarse_step_ns
from tests.bpf import flows
from tests.bpf.flows import TICK_SHIFT, ticks_now, within_a_second, within_a_step
from tests.bpf.packets import ether, icmp4, tcp4, tcp6
from tests.bpf.rig import CLOCK_NS, SECOND_NS, Bond, BondSetup, PathSetup, Rig

pytestmark = pytest.mark.root

AWARE, XOR = abi.PolicyCode.BALANCE_AWARE, abi.PolicyCode.BALANCE_XOR
SPARE = PathSetup(spare=True)
TWO = (PathSetup(4), PathSetup(6))
TICK_BITS = 25
TICK_NS = 1 << TICK_SHIFT
SECOND_TICKS = 1 << 10
# What the programs take two readings of the coarse clock to be off, and a little.
UNSURE_MS = (coarse_step_ns() + 2 * TICK_NS) / 1e6


@dataclass(slots=True)
class Flowlet(flows.Flow):
    """A flow of balance-aware; `path` and `slot` are as its word has them."""

    @property
    def path(self) -> int:
        return self.word & 0x7F

    @property
    def slot(self) -> int:
        return self.word >> 7 & 0xFF

    @property
    def last(self) -> int:
        return self.word >> 15 & (1 << TICK_BITS) - 1

    def made(self, path: int, slot: int, last: int) -> int:
        tag = (~self.hash & 2**64 - 1) >> 40 << 40
        return tag | (last & (1 << TICK_BITS) - 1) << 15 | slot << 7 | path

    def silent(self, ms: float) -> None:
        """As if its last packet had passed so long ago, to the tick."""
        self.word = self.made(self.path, self.slot, ticks_now() - round(ms * 1e6 / TICK_NS))

    def kept(self) -> tuple[int, int, int]:
        """Path, slot and second in the map."""
        raw = self.rig.plane.maps["flows"].get(self.key)
        assert raw is not None
        value = np.frombuffer(raw, abi.FLOW)[0]
        return int(value["path"]), int(value["slot"]), int(value["seen_s"])

    def keep(self, path: int, slot: int, seen: int) -> None:
        value = np.zeros((), abi.FLOW)
        value["path"], value["slot"], value["seen_s"] = path, slot, seen
        self.rig.plane.maps["flows"].put(self.key, value.tobytes())


def aware(rig: Rig, *paths: PathSetup, **more: object) -> Bond:
    bond = rig.bond(BondSetup(policy=AWARE, paths=paths or TWO, **more))  # type: ignore[arg-type]
    for path in bond.paths:
        rig.plane.set_forward(path, 0, 0)
    return bond


def begin(rig: Rig, bond: Bond, sport: int = 40000, path: int = 0) -> Flowlet:
    found = flows.begin(rig, bond, sport, path)
    return Flowlet(found.rig, found.bond, found.sport, found.key)


def forward(rig: Rig, bond: Bond, number: int, least_ms: float, most_ms: float) -> None:
    rig.plane.set_forward(bond.paths[number], int(least_ms * 1000), int(most_ms * 1000))


def moved(rig: Rig, bond: Bond) -> int:
    return int(rig.plane.bonds_live["moved_flows"][bond.index])


# ---- what is kept ------------------------------------------------------------------------------


def test_what_is_kept(rig: Rig) -> None:
    bond = aware(rig)
    seen_before, before = flows.seen_now(), ticks_now()
    first, second = begin(rig, bond, path=1), begin(rig, bond, 40001, path=0)
    seen, ticks = range(seen_before, flows.seen_now() + 1), range(before, ticks_now() + 1)
    assert first.kept() in [(bond.paths[1], 0, at) for at in seen]
    assert first.word in [first.made(1, 0, at) for at in ticks]
    assert second.kept() in [(bond.paths[0], 157, at) for at in seen]
    assert second.word in [second.made(0, 157, at) for at in ticks]
    assert np.flatnonzero(rig.plane.flow_cache).tolist() == sorted([first.at, second.at])


def test_every_packet_says_when(rig: Rig) -> None:
    bond = aware(rig)
    flow = begin(rig, bond)
    for _ in range(5):
        before = ticks_now()
        flow.take()
        assert (before - flow.last) % (1 << TICK_BITS) == 0 or flow.last > before % (1 << TICK_BITS)
        time.sleep(0.005)


@within_a_second
def test_within_a_second_the_cache_alone_is_asked(rig: Rig) -> None:
    bond = aware(rig)
    flow = begin(rig, bond)
    flow.keep(bond.paths[1], 7, 12345)
    for silence_ms in (0, 1, 5):
        flow.silent(silence_ms)
        if flow.last >> 10 == ticks_now() % (1 << TICK_BITS) >> 10:
            assert flow.take() == 0
            assert flow.kept() == (bond.paths[1], 7, 12345)


def test_next_second_touches_the_map(rig: Rig) -> None:
    bond = aware(rig)
    flow = begin(rig, bond)
    flow.silent(2500)
    flow.keep(bond.paths[0], 9, flows.seen_now() - 3)
    before = flows.seen_now()
    assert flow.take() == 0
    path, slot, seen = flow.kept()
    assert (path, slot) == (bond.paths[0], 9)
    assert before <= seen <= flows.seen_now()
    assert flow.slot == 9, "the map is right, not an old word"


@within_a_second
def test_every_bit_of_the_tag_counts(rig: Rig) -> None:
    """A word that is off by one of them is another flow's."""
    bond = aware(rig)
    flow = begin(rig, bond, path=1)
    right = flow.made(0, 0, ticks_now())
    for bit in range(40, 64):
        flow.word = right ^ 1 << bit
        flow.keep(bond.paths[1], 0, flows.seen_now())
        assert flow.take() == 1, f"bit {bit}"


@pytest.mark.parametrize("word", [0, 0xDEADBEEF_0000_0001, 2**64 - 1], ids=["nothing", "another", "all ones"])
def test_flow_that_lost_its_word_is_found_in_the_map(rig: Rig, word: int) -> None:
    """With its slot; it counts as just seen and does not move."""
    bond = aware(rig)
    forward(rig, bond, 0, 50, 50)
    begin(rig, bond, 39999)
    flow = begin(rig, bond)
    flows.slots_to(rig, bond, 1)
    flow.word = word
    assert flow.take() == 0
    assert (flow.path, flow.slot) == (0, 157)


@pytest.mark.parametrize(("ago", "path"), [(0, 0), (1, 0), (2, 0), (4, 1), (600, 1)])
@flows.within_a_second
def test_flow_without_a_word_was_silent_since_its_second(rig: Rig, ago: int, path: int) -> None:
    """2 s must pass here: a flow of the second before last may have ended 1 s ago."""
    bond = aware(rig)
    forward(rig, bond, 0, 2000, 2000)
    flow = begin(rig, bond)
    flows.slots_to(rig, bond, 1)
    flow.keep(bond.paths[0], flow.slot, flows.seen_now() - ago)
    flow.word = 0
    assert flow.take() == path


def test_a_word_of_another_second_knows_better_than_the_map(rig: Rig) -> None:
    """When the last packet passed: the map tells it to the second only."""
    bond = aware(rig)
    flow = begin(rig, bond)
    flows.slots_to(rig, bond, 1)
    second = flows.seen_now() - 4
    flow.word = flow.made(0, 0, second * SECOND_TICKS + 1)
    flow.keep(bond.paths[0], 0, second)
    idle_ms = (ticks_now() - second * SECOND_TICKS - 1) * TICK_NS / 1e6
    forward(rig, bond, 0, 0, idle_ms - 500)
    assert flow.take() == 1


# ---- when it moves -------------------------------------------------------------------------------

# (most of the old path, least of the new one, silence, path after), in ms
GAPS = [
    ("no silence", 50, 0, 0, 0),
    ("not half of it", 50, 0, 20, 0),
    ("just as long, by a coarse clock", 50, 0, 50, 0),
    ("the clock's step more", 50, 0, 50 + coarse_step_ns() / 1e6, 0),
    ("surely longer", 50, 0, 50 + UNSURE_MS, 1),
    ("much longer", 50, 0, 900, 1),
    ("longer than a second", 50, 0, 5000, 1),
    ("two seconds of three", 3000, 0, 2000, 0),
    ("four seconds of three", 3000, 0, 4000, 1),
    ("only the difference counts", 1060, 1010, 50, 0),
    ("and no more than that", 1060, 1010, 50 + UNSURE_MS, 1),
    ("same delay", 10, 10, 0, 1),
    ("to a slower path", 10, 60, 0, 1),
    ("to a path that is slower at least as much", 10, 10.001, 0, 1),
    ("jitter of the old path", 10, 9, 1, 0),
    ("half an hour", 3_600_000, 0, 1_800_000, 0),
    ("an hour of none", 0, 0, 3_600_000, 1),
]


@pytest.mark.parametrize(
    ("most", "least", "silence", "path"), [case[1:] for case in GAPS], ids=[case[0] for case in GAPS]
)
def test_gap(rig: Rig, most: float, least: float, silence: float, path: int) -> None:
    bond = aware(rig)
    forward(rig, bond, 0, 0, most)
    forward(rig, bond, 1, least, 70_000)
    flow = begin(rig, bond)
    flows.slots_to(rig, bond, 1)
    fresh = flow.word

    def after_silence() -> int:
        flow.word = fresh
        rig.plane.bonds_live["moved_flows"][bond.index] = 0
        flow.keep(bond.paths[0], flow.slot, flows.seen_now())
        flow.silent(silence)
        return flow.take()

    assert within_a_step(after_silence) == path
    assert (flow.path, flow.kept()[0]) == (path, bond.paths[path])
    assert moved(rig, bond) == path


def test_a_flow_that_moved_is_where_its_slot_is(rig: Rig) -> None:
    """It stays there, and from there it moves as from anywhere."""
    bond = aware(rig)
    forward(rig, bond, 0, 50, 50)
    flow = begin(rig, bond)
    flows.slots_to(rig, bond, 1)
    flow.silent(100)
    assert [flow.take() for _ in range(3)] == [1, 1, 1]
    flows.slots_to(rig, bond, 0)
    assert flow.take() == 0, "to the slower path at once"
    flows.slots_to(rig, bond, 1)
    assert [flow.take() for _ in range(3)] == [0, 0, 0]
    assert moved(rig, bond) == 2


def test_the_slot_is_the_flows_own(rig: Rig) -> None:
    """Others' slots may go where they want."""
    bond = aware(rig)
    flow = begin(rig, bond)
    for path, others in ((0, 1), (1, 0)):
        table = [bond.paths[others]] * abi.SLOTS
        table[flow.slot] = bond.paths[path]
        rig.plane.set_slots(bond.index, table)
        assert flow.take() == path


def test_a_path_of_which_nothing_is_known_is_left_after_ten_seconds(rig: Rig) -> None:
    bond = rig.bond(BondSetup(policy=AWARE, paths=TWO))
    assert set(rig.plane.paths["forward_most_us"][bond.paths]) == {FORWARD_UNKNOWN_US}
    flow = begin(rig, bond)
    flows.slots_to(rig, bond, 1)
    for silence_ms, path in ((0, 0), (9_900, 0), (10_100, 1)):
        flow.silent(silence_ms)
        assert flow.take() == path


AT_ONCE = [
    ("LEAVE", "leave", 1),
    ("NO_FLOWLETS", "no_flowlets", 1),
    ("the path is dead", "dead", 1),
    ("the path is not eligible", "ineligible", 1),
    ("the path is a spare", "spare", 1),
    ("the path is the peer's spare", "peer_spare", 1),
    ("none of these", "", 0),
    ("LEAVE of the other path", "other_leaves", 0),
    ("the slot's path is dead", "dead other_dead", None),
]


def afflict(rig: Rig, bond: Bond, what: str) -> None:
    set_flag = rig.plane.set_path_flag
    for word in what.split():
        match word.removeprefix("other_"), bond.paths[int(word.startswith("other_"))]:
            case (("leave" | "leaves"), path):
                set_flag(path, abi.PathFlag.LEAVE, True)
            case "dead", path:
                rig.plane.paths_live["proof_ns"][path] = CLOCK_NS - 2 * SECOND_NS
            case "ineligible", path:
                set_flag(path, abi.PathFlag.ELIGIBLE, False)
            case "spare", path:
                set_flag(path, abi.PathFlag.SPARE, True)
            case "peer_spare", path:
                set_flag(path, abi.PathFlag.PEER_SPARE, True)
            case "no_flowlets", _:
                rig.plane.bonds["flags"][bond.index] |= int(abi.BondFlag.NO_FLOWLETS)


@pytest.mark.parametrize(("what", "path"), [case[1:] for case in AT_ONCE], ids=[case[0] for case in AT_ONCE])
def test_at_once(rig: Rig, what: str, path: int | None) -> None:
    """However long the way was: what was sent may be overtaken. None: by take-over."""
    bond = aware(rig, *TWO, PathSetup(4))
    for number in range(3):
        forward(rig, bond, number, 5000, 60_000)
    flow = begin(rig, bond)
    flows.slots_to(rig, bond, 1)
    afflict(rig, bond, what)
    assert flow.take() == (2 if path is None else path)
    assert moved(rig, bond) == (path != 0)


STAYS = [
    ("the slot's path is dead", "other_dead"),
    ("not eligible", "other_ineligible"),
    ("even from a path to leave", "leave other_dead"),
    ("even from a spare", "spare other_ineligible"),
    ("even without flowlets", "no_flowlets other_dead"),
]


@pytest.mark.parametrize("what", [case[1] for case in STAYS], ids=[case[0] for case in STAYS])
def test_not_to_a_path_that_is_not_usable(rig: Rig, what: str) -> None:
    bond = aware(rig)
    flow = begin(rig, bond)
    flows.slots_to(rig, bond, 1)
    afflict(rig, bond, what)
    flow.silent(60_000)
    assert [flow.take() for _ in range(3)] == [0, 0, 0]
    assert moved(rig, bond) == 0


def test_an_empty_table_moves_nobody(rig: Rig) -> None:
    bond = aware(rig)
    flow = begin(rig, bond)
    rig.plane.set_slots(bond.index, [abi.NO_PATH] * abi.SLOTS)
    flow.silent(60_000)
    assert flow.take() == 0


def test_between_two_spares_it_waits(rig: Rig) -> None:
    bond = aware(rig, SPARE, SPARE)
    forward(rig, bond, 0, 50, 50)
    flow = begin(rig, bond)
    flows.slots_to(rig, bond, 1)
    assert [flow.take() for _ in range(3)] == [0, 0, 0]
    flow.silent(100)
    assert flow.take() == 1
    assert rig.plane.bonds_live["turn"][0] == 1, "no second turn"


def test_a_spare_is_left_though_the_slots_path_is_dead(rig: Rig) -> None:
    """For whoever takes over from that."""
    bond = aware(rig, *TWO, SPARE)
    for number in range(3):
        forward(rig, bond, number, 0, 60_000)
    flow = begin(rig, bond)
    afflict(rig, bond, "dead other_dead")
    assert [flow.take() for _ in range(3)] == [2, 2, 2]
    rig.plane.paths_live["proof_ns"][bond.paths[1]] = CLOCK_NS
    assert [flow.take() for _ in range(3)] == [1, 1, 1]


def test_death_and_return(rig: Rig) -> None:
    """Off a dead path at once; back, as the slots say, at a silence."""
    bond = aware(rig)
    forward(rig, bond, 1, 50, 50)
    flow = begin(rig, bond)
    afflict(rig, bond, "dead")
    assert flow.take() == 1
    rig.plane.paths_live["proof_ns"][bond.paths[0]] = CLOCK_NS
    assert [flow.take() for _ in range(3)] == [1, 1, 1]
    flow.silent(100)
    assert flow.take() == 0
    assert moved(rig, bond) == 2


def test_taken_over_flows_keep_their_slots(rig: Rig) -> None:
    """And divide among those who are left; once the slots say where, they go there."""
    bond = aware(rig, *TWO, PathSetup(4))
    begun = [begin(rig, bond, 1024 + number) for number in range(120)]
    slots = [flow.slot for flow in begun]
    afflict(rig, bond, "dead")
    taken = [flow.take() for flow in begun]
    assert min(taken.count(1), taken.count(2)) > 30
    assert [flow.slot for flow in begun] == slots
    flows.slots_to(rig, bond, 2)
    assert {flow.take() for flow in begun} == {2}
    assert moved(rig, bond) == 120 + taken.count(1)


def test_a_flow_on_no_path_is_not_moved(rig: Rig) -> None:
    """All dead and nothing left: it is dropped where it is, and goes on from there."""
    bond = aware(rig)
    flow = begin(rig, bond)
    afflict(rig, bond, "dead other_dead")
    rig.plane.bonds_live["freshest_ns"][0] = CLOCK_NS - 3 * SECOND_NS
    for path in bond.paths:
        rig.plane.set_path_flag(path, abi.PathFlag.ELIGIBLE, False)
    assert rig.run("tx", ether(tcp4(flow.sport))).reason == "tx_no_path"
    assert (flow.path, moved(rig, bond)) == (0, 0)


def test_balance_xor_counts_its_moves_too(rig: Rig) -> None:
    bond = rig.bond(BondSetup(paths=TWO))
    flow = flows.begin(rig, bond)
    flows.slots_to(rig, bond, 1)
    assert flow.take() == 0
    assert moved(rig, bond) == 0
    afflict(rig, bond, "dead")
    assert [flow.take() for _ in range(3)] == [1, 1, 1]
    assert moved(rig, bond) == 1


# ---- the policy changes ----------------------------------------------------------------------------


def put_policy(rig: Rig, policy: abi.PolicyCode) -> None:
    rig.plane.bonds["policy"][0] = policy


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize(("first", "then"), [(XOR, AWARE), (AWARE, XOR)])
def test_flows_stay_when_the_policy_changes(
    rig: Rig, first: abi.PolicyCode, then: abi.PolicyCode, cached: bool
) -> None:
    """Neither takes the other's words for its own. balance-xor's slots are by hash."""
    bond = rig.bond(BondSetup(policy=first, paths=(*TWO, *TWO)))
    begun = {sport: begin(rig, bond, sport, sport % 4) for sport in range(1024, 1064)}
    slots = {sport: flow.kept()[1] for sport, flow in begun.items()}
    if first is XOR:
        assert slots == {sport: flow.hash % abi.SLOTS for sport, flow in begun.items()}
    put_policy(rig, then)
    if not cached:
        rig.plane.flow_cache[:] = 0
    assert {sport: flow.take() for sport, flow in begun.items()} == {sport: sport % 4 for sport in begun}
    if then is AWARE:
        assert {sport: flow.slot for sport, flow in begun.items()} == slots


# ---- bytes by slot -----------------------------------------------------------------------------------


def test_slot_bytes(rig: Rig) -> None:
    """Of the inner packets, by the slot they belong to, whatever path they take."""
    bond = aware(rig)
    assert rig.plane.slot_bytes.shape == (len(rig.plane.bonds), abi.SLOTS)
    flow = begin(rig, bond)
    other = begin(rig, bond, 40001)
    rig.plane.set_forward(bond.paths[0], 0, 60_000_000)
    flows.slots_to(rig, bond, 1)
    for _ in range(3):
        assert other.take() == 0
    rig.run("tx", ether(tcp6()))
    length = {4: len(tcp4()), 6: len(tcp6())}
    wanted = {0: length[4], 157: 4 * length[4], 2 * 157 % 256: length[6]}
    found = rig.plane.slot_bytes[0]
    assert {int(slot): int(found[slot]) for slot in np.flatnonzero(found)} == wanted
    assert int(found.sum()) == int(rig.plane.path_stats["tx_bytes"][bond.paths].sum())
    assert flow.slot == 0


def test_slot_bytes_of_super_packets(rig: Rig) -> None:
    """As handed over, with one header."""
    aware(rig)
    inner = tcp4() / (b"x" * 2000)
    assert rig.run("tx", ether(inner), gso_segs=3).reason == "tx_sent"
    assert rig.plane.slot_bytes[0][0] == len(inner)


def test_packets_without_a_flow_count_to_slots_at_random(rig: Rig) -> None:
    bond = aware(rig)
    run = rig.fast("tx", rig.lab.far)
    for _ in range(300):
        run(ether(icmp4()))
    found = rig.plane.slot_bytes[0]
    assert int(found.sum()) == 300 * len(icmp4()) == int(rig.plane.path_stats["tx_bytes"][bond.paths].sum())
    assert np.count_nonzero(found) > 100


@pytest.mark.parametrize("policy", [policy for policy in abi.PolicyCode if policy is not AWARE])
def test_other_policies_count_no_slots(rig: Rig, policy: abi.PolicyCode) -> None:
    rig.bond(BondSetup(policy=policy, paths=TWO[:1]))
    for inner in (tcp4(), tcp6(), icmp4()):
        assert rig.run("tx", ether(inner)).reason == "tx_sent"
    assert not rig.plane.slot_bytes.any()


def test_what_is_not_sent_counts_to_no_slot(rig: Rig) -> None:
    aware(rig, PathSetup(eligible=False, link_up=False))
    assert rig.run("tx", ether(tcp4())).reason == "tx_no_path"
    assert not rig.plane.slot_bytes.any()


def test_bonds_have_slots_of_their_own(rig: Rig) -> None:
    aware(rig, index=2)
    assert rig.run("tx", ether(tcp4())).reason == "tx_sent"
    assert np.flatnonzero(rig.plane.slot_bytes.any(axis=1)).tolist() == [2]
    rig.plane.remove_bond(2)
    assert not rig.plane.slot_bytes.any()


# ---- with the clock as it runs ------------------------------------------------------------------------


def test_silences_as_they_come(rig: Rig) -> None:
    """Packets at random times while the slots go to and fro: no move after a silence
    shorter than needed, and one after each that is surely longer, which is as much more
    again as the readings really may be off."""
    bond = aware(rig)
    needed_ms = 15.0
    for number in (0, 1):
        forward(rig, bond, number, 5, 5 + needed_ms)
    flow = begin(rig, bond)
    run, path = rig.fast("tx", rig.lab.far), rig.path_taken(bond)
    frame, chooser = ether(tcp4(flow.sport)), random.Random(7)
    at, moves, stays = 0, 0, 0
    run(frame)
    path()
    begun_ns = ended_ns = time.monotonic_ns()
    for _ in range(60):
        flows.slots_to(rig, bond, 1 - at)
        time.sleep(chooser.choice([0, 0.005, 0.010, 0.014, 0.016, 0.022, 0.040]))
        last_begun_ns, last_ended_ns = begun_ns, ended_ns
        begun_ns = time.monotonic_ns()
        run(frame)
        ended_ns = time.monotonic_ns()
        before, at = at, path()
        if at != before:
            moves += 1
            assert (ended_ns - last_begun_ns) / 1e6 > needed_ms
        else:
            stays += 1
            assert (begun_ns - last_ended_ns) / 1e6 <= needed_ms + 2 * UNSURE_MS
    assert min(moves, stays) > 5
    assert moved(rig, bond) == moves


def test_two_cpus_with_one_flow(rig: Rig) -> None:
    """Races may cost a move at the wrong time, never a wrong entry."""
    bond = aware(rig)
    flow = begin(rig, bond)
    frame = ether(tcp4(flow.sport))
    over = threading.Event()

    def hammer() -> None:
        with rig.lab.entered():
            run = rig.fast("tx", rig.lab.far)
            while not over.is_set():
                run(frame)

    threads = [threading.Thread(target=hammer) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for turn in range(200):
            flows.slots_to(rig, bond, turn % 2)
            time.sleep(0.001)
            assert flow.slot == 0
            assert flow.path in (0, 1)
            assert flow.kept()[:2] in [(path, 0) for path in bond.paths]
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert rig.plane.bonds_live["turn"][0] == 1
    sent = int(rig.plane.path_stats["tx_bytes"][bond.paths].sum())
    assert rig.plane.slot_bytes[0][0] == sent, "no byte is lost between two CPUs"
