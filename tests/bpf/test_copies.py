"""Copies of a broadcasting peer: the first of each number is delivered, no other.

Verdicts come from the programs; what they should be from sets and a model here.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scapy.packet import Packet

from mpbond import abi, sessions
from tests.bpf import packets
from tests.bpf.lab import wait_until
from tests.bpf.packets import CLIENT4, NOBODY4, OTHER4, reply4, reply6
from tests.bpf.rig import (
    REDIRECT,
    SHOT,
    XDP_DROP,
    XDP_REDIRECT,
    Bond,
    BondSetup,
    FastRun,
    PathSetup,
    Rig,
)

pytestmark = pytest.mark.root

US = BondSetup(paths=(PathSetup(4), PathSetup(6)))
OTHER = BondSetup(index=1, paths=(PathSetup(4),), allowed=("10.2.0.0/16",))
SESSION = sessions.derive(b"\x01" * 32, "us", "peer0").rx.number
OTHERS_SESSION = sessions.derive(b"\x02" * 32, "us", "peer1").rx.number
VERDICTS = {"rx_tc": (REDIRECT, SHOT), "rx_xdp": (XDP_REDIRECT, XDP_DROP)}

GROUP, WINDOW, BEHIND = 32, 8192, 64
LAST = 2**32 - 1
INNER = reply4(8)
FIRST, AGAIN, LATE = "rx_delivered", "rx_duplicate", "rx_copy_late"


def set_up(rig: Rig) -> Bond:
    bond = rig.bond(US)
    rig.learn(bond)
    return bond


def take(rig: Rig, sequence: int, *, hook: str = "rx_tc", number: int = 0) -> str:
    """One copy of packet `sequence`, by path `number`; why it ended."""
    family = US.paths[number].family
    return rig.run(hook, packets.copy(family, SESSION, sequence % 2**32, INNER, number=number)).reason


def take_all(rig: Rig, sequences: Iterable[int]) -> list[str]:
    return [take(rig, sequence) for sequence in sequences]


# ---- one number ---------------------------------------------------------------------------


@pytest.mark.parametrize("hook", VERDICTS)
@pytest.mark.parametrize("family", [4, 6], ids=["in v4", "in v6"])
@pytest.mark.parametrize("inner", [reply4(8), reply6(8)], ids=["v4", "v6"])
def test_second_copy_is_dropped_and_counted_to_its_path(
    rig: Rig, hook: str, family: int, inner: Packet
) -> None:
    bond = set_up(rig)
    paths = [0, 1] if family == 4 else [1, 0]
    frames = [packets.copy((4, 6)[path], SESSION, 7, inner, number=path) for path in paths]
    got = [rig.run(hook, frame) for frame in frames]
    assert [(one.verdict, one.reason) for one in got] == list(
        zip(VERDICTS[hook], (FIRST, AGAIN), strict=True)
    )
    assert got[0].data[14:] == bytes(inner)
    assert got[1].data == frames[1], "a dropped packet is left as it was"
    assert rig.path_packets(bond, "rx") == [1, 1]
    stats = rig.plane.path_stats
    assert [int(stats["rx_bytes"][path].sum()) for path in bond.paths] == [len(bytes(inner))] * 2
    assert all(stats["last_rx_ns"][path].max() > 0 for path in bond.paths)


def test_hooks_share_the_window(rig: Rig) -> None:
    """tc, XDP and a link without Ethernet, in any order."""
    set_up(rig)
    assert take(rig, 1, hook="rx_xdp") == FIRST
    assert take(rig, 1, hook="rx_tc") == AGAIN
    assert take(rig, 2, hook="rx_tc") == FIRST
    assert take(rig, 2, hook="rx_xdp") == AGAIN
    for sequence, counted in ((2, {AGAIN: 3}), (3, {FIRST: 3, AGAIN: 3}), (3, {FIRST: 3, AGAIN: 4})):
        rig.lab.inject("tun0", packets.copy(4, SESSION, sequence, INNER)[14:])
        rig.wait_for({FIRST: 2} | counted)
    assert take(rig, 3) == AGAIN


@pytest.mark.parametrize("hook", VERDICTS)
def test_late_copy_is_counted_to_its_path(rig: Rig, hook: str) -> None:
    bond = set_up(rig)
    assert take(rig, WINDOW, hook=hook) == FIRST
    assert take(rig, 0, hook=hook, number=1) == LATE
    assert rig.path_packets(bond, "rx") == [1, 1]


def test_packets_without_the_flag_are_no_copies(rig: Rig) -> None:
    """Each is delivered, whatever its sequence says, and the window learns nothing."""
    set_up(rig)
    plain = bytearray(packets.copy(4, SESSION, 5, INNER))
    plain[14 + 28 + 1] = 0
    assert [rig.run("rx_tc", bytes(plain)).reason for _ in range(3)] == [FIRST] * 3
    assert not rig.plane.copies[0]["word"].any()
    assert take(rig, 5) == FIRST


def test_copy_by_a_path_that_the_peer_never_probed(rig: Rig) -> None:
    bond = rig.bond(US)
    assert take_all(rig, [1, 1]) == [FIRST, AGAIN]
    assert rig.path_packets(bond, "rx") == [0, 0]


REFUSED = [
    ("source outside the peer's prefixes", reply4(8, src=NOBODY4), "rx_source_not_allowed"),
    ("our own source", reply4(8, src=CLIENT4), "rx_source_not_allowed"),
    ("another peer's source", reply4(8, src=OTHER4), "rx_source_not_allowed"),
    ("no IP inside", bytes(40), "rx_inner_malformed"),
    ("cut short", bytes(INNER)[:-1], "rx_truncated"),
]


@pytest.mark.parametrize("hook", VERDICTS)
@pytest.mark.parametrize(
    ("inner", "reason"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_refused_packet_leaves_no_trace_in_the_window(
    rig: Rig, hook: str, inner: Packet | bytes, reason: str
) -> None:
    bond = set_up(rig)
    rig.bond(OTHER)
    assert rig.run(hook, packets.copy(4, SESSION, 9, inner)).reason == reason
    assert not rig.plane.copies["word"].any()
    assert rig.path_packets(bond, "rx") == [0, 0]
    assert take(rig, 9, hook=hook) == FIRST


def test_bonds_have_windows_of_their_own(rig: Rig) -> None:
    set_up(rig)
    rig.bond(OTHER)
    others = packets.copy(4, OTHERS_SESSION, 100, reply4(8, src=OTHER4))
    far_ahead = packets.copy(4, OTHERS_SESSION, 100 + 10 * WINDOW, reply4(8, src=OTHER4))
    assert take(rig, 100) == FIRST
    assert [rig.run("rx_tc", others).reason for _ in range(2)] == [FIRST, AGAIN]
    assert rig.run("rx_tc", far_ahead).reason == FIRST
    assert take(rig, 101) == FIRST, "another bond's numbers move no window of ours"


# ---- the window's edges -------------------------------------------------------------------

# What it shows, numbers in the order of coming, and how each ends.
ROWS: list[tuple[str, list[tuple[int, str]]]] = [
    ("zero is the first", [(0, FIRST), (0, AGAIN), (1, FIRST)]),
    ("the last number is the first", [(LAST, FIRST), (LAST, AGAIN), (LAST - 1, FIRST)]),
    ("out of order", [(40, FIRST), (3, FIRST), (39, FIRST), (3, AGAIN), (40, AGAIN), (39, AGAIN)]),
    ("both ends of a word", [(64, FIRST), (95, FIRST), (64, AGAIN), (95, AGAIN), (96, FIRST), (63, FIRST)]),
    ("8,191 behind, seen", [(0, FIRST), (8191, FIRST), (0, AGAIN)]),
    ("8,191 behind, not seen", [(8191, FIRST), (0, FIRST), (0, AGAIN)]),
    ("8,192 behind", [(8192, FIRST), (0, LATE)]),
    ("8,192 behind, seen before", [(0, FIRST), (8192, FIRST), (0, LATE)]),
    ("8,160 behind is kept wherever a word begins", [(31, FIRST), (31 + 8160, FIRST), (31, AGAIN)]),
    ("a word is taken over whole", [(31, FIRST), (31 + 8161, FIRST), (31, LATE), (32, FIRST)]),
    ("old bits do not outlive their word", [(5, FIRST), (8192, FIRST), (8197, FIRST), (8197, AGAIN)]),
    ("a long way ahead", [(5, FIRST), (5 + 2**30, FIRST), (5, LATE), (5 + 2**30, AGAIN)]),
    ("half the numbers ahead, less a word", [(5, FIRST), (5 + 2**31 - WINDOW, FIRST), (5, LATE)]),
    ("over the wrap-around", [(LAST, FIRST), (0, FIRST), (LAST, AGAIN), (0, AGAIN)]),
    ("8,191 behind, over the wrap-around", [(LAST - 31, FIRST), (8159, FIRST), (LAST - 31, AGAIN)]),
    ("8,192 behind, over the wrap-around", [(LAST - 31, FIRST), (8160, FIRST), (LAST - 31, LATE)]),
    ("not seen before the wrap-around", [(0, FIRST), (LAST, FIRST), (LAST, AGAIN), (LAST - 8000, FIRST)]),
]


@pytest.mark.parametrize("row", [row for _, row in ROWS], ids=[what for what, _ in ROWS])
def test_rows(rig: Rig, row: list[tuple[int, str]]) -> None:
    set_up(rig)
    assert take_all(rig, [sequence for sequence, _ in row]) == [reason for _, reason in row]


def test_a_whole_window_at_once(rig: Rig) -> None:
    """8,192 numbers come, come again and are all told apart; the next takes the oldest word."""
    set_up(rig)
    run, frame = fast(rig), Frames()
    for wanted in (REDIRECT, SHOT):
        assert {run(frame(sequence)) for sequence in range(WINDOW)} == {wanted}
    assert rig.counts() == {FIRST: WINDOW, AGAIN: WINDOW}
    assert take_all(rig, [WINDOW, GROUP - 1, GROUP]) == [FIRST, LATE, AGAIN]


# ---- a sender that began anew ---------------------------------------------------------------


def test_after_64_late_ones_the_window_is_forgotten(rig: Rig) -> None:
    set_up(rig)
    take_all(rig, range(100_000, 100_000 + WINDOW, GROUP))
    assert take_all(rig, range(1000, 1000 + BEHIND)) == [LATE] * BEHIND
    assert take_all(rig, [1000 + BEHIND, 1000, 1000 + BEHIND]) == [FIRST, FIRST, AGAIN]
    assert take(rig, 100_000) == FIRST, "nothing is left of what came before"
    assert rig.plane.copies[0]["behind"] == 0


def test_64_late_ones_with_one_in_between_forget_nothing(rig: Rig) -> None:
    set_up(rig)
    take_all(rig, range(100_000, 100_000 + WINDOW, GROUP))
    for number in range(3):
        assert take_all(rig, range(1000, 1000 + BEHIND)) == [LATE] * BEHIND
        assert take(rig, 100_001 + number) == FIRST
    assert take(rig, 100_001) == AGAIN


def test_duplicates_do_not_forget_anything(rig: Rig) -> None:
    """A link that is slow, not anew: its copies are late or there already, for long."""
    set_up(rig)
    run, frame = fast(rig), Frames()
    for sequence in range(WINDOW):
        run(frame(sequence))
    assert {run(frame(sequence)) for sequence in range(WINDOW)} == {SHOT}
    assert rig.plane.copies[0]["behind"] == 0


@pytest.mark.parametrize("back", [WINDOW * 2, 10**6, 2**31 - 3 * WINDOW])
def test_a_sender_that_begins_further_back_is_heard_again(rig: Rig, back: int) -> None:
    """Whatever the last number was: 64 packets are lost, not more."""
    set_up(rig)
    begin = 10**9
    run, frame = fast(rig), Frames()
    for sequence in range(begin, begin + 2 * WINDOW):
        run(frame(sequence))
    verdicts = [run(frame((begin - back + sequence) % 2**32)) for sequence in range(2 * WINDOW)]
    assert verdicts == [SHOT] * BEHIND + [REDIRECT] * (2 * WINDOW - BEHIND)


def test_a_sender_that_begins_further_ahead_loses_nothing(rig: Rig) -> None:
    """More than half of all numbers back is ahead."""
    set_up(rig)
    run, frame = fast(rig), Frames()
    for begin in (10**9, 10**9 + 10**6, 10**9 + 2**31):
        assert {run(frame(sequence)) for sequence in range(begin, begin + 2 * WINDOW)} == {REDIRECT}


def test_a_new_session_of_the_peers_bond_starts_empty(rig: Rig) -> None:
    """Taken out and put back: the next peer in that place is another."""
    set_up(rig)
    assert take(rig, 5) == FIRST
    rig.plane.remove_bond(0)
    set_up(rig)
    assert take(rig, 5) == FIRST


# ---- any order ----------------------------------------------------------------------------


class Frames:
    """Copies for tens of thousands of packets: one frame, its number written anew."""

    def __init__(self) -> None:
        self._frame = bytearray(packets.copy(4, SESSION, 0, INNER))

    def __call__(self, sequence: int) -> bytes:
        self._frame[46:50] = sequence.to_bytes(4, "big")
        return bytes(self._frame)


def fast(rig: Rig) -> FastRun:
    return rig.fast("rx_tc", rig.lab.ifindex["wan0"])


class Model:
    """What the window means: per 256th group of 32 numbers, the newest group that has
    come and what came of it. Numbers here do not wrap."""

    def __init__(self) -> None:
        self.newest: dict[int, int] = {}
        self.seen: set[int] = set()
        self.behind = 0

    def take(self, number: int) -> bool:
        """Is it delivered?"""
        group = number // GROUP
        if self.newest.get(group % 256, group) > group and self._late():
            return False
        if self.newest.get(group % 256) == group and number in self.seen:
            return False
        self.newest[group % 256] = group
        self.seen.add(number)
        self.behind = 0
        return True

    def _late(self) -> bool:
        self.behind += 1
        if self.behind > BEHIND:
            self.__init__()  # type: ignore[misc]
            return False
        return True


def forget(rig: Rig) -> None:
    rig.plane.copies[:] = np.zeros((), abi.COPIES)


def delivered(rig: Rig, numbers: list[int], start: int) -> list[bool]:
    forget(rig)
    run, frame = fast(rig), Frames()
    return [run(frame((start + number) % 2**32)) == REDIRECT for number in numbers]


# Word boundaries and the wrap-around at any place; 32 divides them, as the model counts from 0.
STARTS = st.sampled_from((0, 32 * 999, 2**31 - 32, 2**32 - 32 * 40, 2**32 - 32 * 3, 2**32 - 32 * 300))
EXAMPLES = settings(
    max_examples=60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
# Of a packet: how many numbers after the last one, and how late.
STEPS = st.tuples(
    st.one_of(st.integers(0, 3), st.sampled_from((31, 32, 33, 500, 8160, 8191))), st.integers(0, 20)
)


@given(STARTS, st.lists(STEPS, max_size=300), st.lists(st.integers(0, WINDOW - GROUP), max_size=150))
@EXAMPLES
def test_none_twice_none_lost_inside_the_window(
    rig: Rig, start: int, steps: list[tuple[int, int]], lateness: list[int]
) -> None:
    """By sets alone: whatever is less than 8,161 behind comes in, exactly once."""
    set_up(rig)
    newest, numbers = WINDOW, [WINDOW]
    late = iter(lateness)
    for ahead, little in steps:
        newest += ahead
        numbers += [newest, newest - little, newest - next(late, 0)]
    came: set[int] = set()
    wanted = [not (number in came or came.add(number)) for number in numbers]  # type: ignore[func-returns-value]
    assert delivered(rig, numbers, start) == wanted


ANY_NUMBER = st.one_of(
    st.integers(0, 200),
    st.integers(0, 3 * WINDOW),
    st.integers(0, 40).map(lambda number: number * WINDOW // 8),
)


@given(STARTS, st.lists(st.tuples(ANY_NUMBER, st.integers(1, 70)), max_size=40))
@EXAMPLES
def test_any_runs_of_numbers_against_the_model(rig: Rig, start: int, runs: list[tuple[int, int]]) -> None:
    """Behind the window too, and long enough to have it forgotten."""
    set_up(rig)
    numbers = [first + step for first, length in runs for step in range(length)]
    model = Model()
    assert delivered(rig, numbers, start) == [model.take(number) for number in numbers]


# ---- two CPUs -----------------------------------------------------------------------------

COPIES = 100_000


class Race:
    """Two CPUs with the same numbers, never more than a word apart: each notes what was
    delivered to it. Processes, as threads would take turns at Python's lock."""

    def __init__(self) -> None:
        memory = mmap.mmap(-1, 2 * COPIES + 16)
        self.reached = np.frombuffer(memory, np.int64, 2)
        self.first = np.frombuffer(memory, np.uint8, offset=16).reshape(2, COPIES)

    def run(self, rig: Rig, cpus: list[int], backwards: bool) -> None:
        """`backwards`: one of them takes each word's numbers from the last to the first."""
        child = os.fork()
        if not child:
            status = 1
            try:
                self._take(rig, cpus[1], 1, backwards)
                status = 0
            finally:
                os._exit(status)
        try:
            self._take(rig, cpus[0], 0, False)
        finally:
            os.sched_setaffinity(0, cpus)
            assert os.waitpid(child, 0)[1] == 0

    def _take(self, rig: Rig, cpu: int, me: int, backwards: bool) -> None:
        os.sched_setaffinity(0, {cpu})
        run, frame, reached = fast(rig), Frames(), self.reached
        for begin in range(0, COPIES, GROUP):
            reached[me] = begin + 1
            if reached[1 - me] <= begin:
                wait_until(lambda begin=begin: bool(reached[1 - me] > begin), "the other CPU")  # type: ignore[misc]
            numbers = range(begin, begin + GROUP)
            for number in reversed(numbers) if backwards else numbers:
                self.first[me, number] = run(frame(number)) == REDIRECT
        reached[me] = COPIES + 1


@pytest.mark.parametrize("backwards", [False, True], ids=["same number", "same word"])
def test_each_is_delivered_once_on_two_cpus(rig: Rig, backwards: bool) -> None:
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        pytest.skip("needs two CPUs")
    bond = set_up(rig)
    race = Race()
    race.run(rig, cpus[:2], backwards)
    assert (race.first.sum(axis=0) == 1).all(), "twice or never"
    assert race.first.sum(axis=1).min() > COPIES // 100, "they did not race"
    assert rig.counts() == {FIRST: COPIES, AGAIN: COPIES}
    assert rig.path_packets(bond, "rx") == [2 * COPIES, 0]
