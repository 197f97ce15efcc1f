"""What a stream's arrivals say: tables, and a property against a plain count."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpbond.lab.stream import StreamReport, analyse, gap_ms, lost_after

MS = 1_000_000


def arrivals(*numbers: int, every_ns: int = MS) -> list[tuple[int, int]]:
    """These numbers, one after the other."""
    return [(number, at * every_ns) for at, number in enumerate(numbers)]


def report(sent: int, *numbers: int) -> StreamReport:
    return analyse(sent, arrivals(*numbers), ())


CASES = [
    ("all in order", 4, (0, 1, 2, 3), {"lost": 0, "duplicated": 0, "reordered": 0, "lost_runs": ()}),
    ("none at all", 3, (), {"lost": 3, "received": 0, "longest_gap_ms": 0.0, "lost_runs": ((0, 3),)}),
    ("nothing sent", 0, (), {"lost": 0, "received": 0, "lost_runs": ()}),
    ("one hole", 5, (0, 1, 4), {"lost": 2, "lost_runs": ((2, 2),), "longest_loss": 2}),
    ("holes at both ends", 5, (1, 3), {"lost": 3, "lost_runs": ((0, 1), (2, 1), (4, 1)), "longest_loss": 1}),
    ("one late", 4, (0, 2, 1, 3), {"lost": 0, "reordered": 1}),
    ("two late behind one early", 4, (3, 0, 1, 2), {"lost": 0, "reordered": 3}),
    ("one twice", 3, (0, 1, 1, 2), {"lost": 0, "duplicated": 1, "received": 3, "reordered": 0}),
    ("a copy later is late too", 3, (0, 1, 2, 1), {"duplicated": 1, "reordered": 1, "lost": 0}),
    ("one thrice", 1, (0, 0, 0), {"duplicated": 2, "received": 1}),
]


@pytest.mark.parametrize(
    ("sent", "numbers", "expected"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_analyse(sent: int, numbers: tuple[int, ...], expected: dict[str, object]) -> None:
    got = report(sent, *numbers)
    assert {key: getattr(got, key) for key in expected} == expected


def test_gap_is_between_receive_stamps_in_their_own_order() -> None:
    """Packets read out of order of their stamps make no gap."""
    got = analyse(4, [(0, 0), (2, 2 * MS), (1, 1 * MS), (3, 12 * MS)], (7.5,))
    assert got.longest_gap_ms == 10.0
    assert got.stalls_ms == (7.5,)


@given(st.lists(st.booleans(), max_size=60), st.randoms(use_true_random=False))
def test_counts_agree_with_a_plain_count(arrived: list[bool], shuffle: random.Random) -> None:
    numbers = [number for number, there in enumerate(arrived) if there]
    shuffle.shuffle(numbers)
    got = report(len(arrived), *numbers)
    assert (got.lost, got.received, got.duplicated) == (arrived.count(False), arrived.count(True), 0)
    assert sum(count for _, count in got.lost_runs) == got.lost
    for first, count in got.lost_runs:
        assert not any(arrived[first : first + count])
        assert all(arrived[at] for at in (first - 1, first + count) if 0 <= at < len(arrived))


def test_losses_are_counted_to_the_cut_before_them() -> None:
    """Packets 3 and 4 lost after the first mark, 8 after the second."""
    got = [(n, n * MS) for n in (0, 1, 2, 5, 6, 7, 9)]
    assert lost_after([2 * MS + 1, 7 * MS + 1], 10, got) == [2, 1]


def test_a_loss_before_the_first_mark_counts_to_none() -> None:
    assert lost_after([5 * MS], 10, [(n, n * MS) for n in range(10) if n != 2]) == [0]


def test_what_never_came_counts_to_the_last_mark() -> None:
    """The end of the stream counts: here nothing came after the second cut."""
    got = [(n, n * MS) for n in range(6)]
    assert lost_after([2 * MS, 5 * MS], 10, got) == [0, 4]


def test_a_packet_that_came_late_is_not_lost() -> None:
    got = [(0, 0), (1, MS), (3, 3 * MS), (2, 4 * MS)]
    assert lost_after([MS], 4, got) == [0]


GAPS = [(n, n * MS) for n in (0, 1, 2, 12, 13, 33, 34)]


@pytest.mark.parametrize(
    ("since_ms", "until_ms", "gap"),
    [
        (0, None, 20.0),  # the longest of all
        (2.5, 13, 10.0),  # begins after the last packet before it, as a cut does
        (2.5, 13.5, 20.0),  # the second one begins before its end
        (12.5, None, 20.0),
        (33.5, None, 1.0),
        (34, None, 0.0),  # nothing after it
    ],
)
def test_the_gap_of_one_cut(since_ms: float, until_ms: float | None, gap: float) -> None:
    until_ns = None if until_ms is None else int(until_ms * MS)
    assert gap_ms(GAPS, int(since_ms * MS), until_ns) == gap
    assert gap_ms([], 0) == 0.0
