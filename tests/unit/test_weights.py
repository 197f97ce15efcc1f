"""Shares to 256 slots: how many each, and which."""

from __future__ import annotations

from itertools import pairwise

import pytest

from mpbond.abi import NO_PATH, SLOTS
from mpbond.weights import fill_slots, slot_counts

EMPTY = [NO_PATH] * SLOTS

COUNTS: list[tuple[str, dict[int, float], dict[int, int]]] = [
    ("one path takes all", {7: 0.25}, {7: 256}),
    ("two equal ones", {0: 1.0, 1: 1.0}, {0: 128, 1: 128}),
    ("what is over goes to the lowest index", {2: 1.0, 0: 1.0, 1: 1.0}, {0: 86, 1: 85, 2: 85}),
    ("1000 to 250 Mbit/s", {0: 1000, 1: 250}, {0: 205, 1: 51}),
    ("the scale does not matter", {0: 1e-9, 1: 3e-9}, {0: 64, 1: 192}),
    ("a share of nothing is no slot", {0: 1.0, 1: 0.0}, {0: 256}),
    ("a share below half a slot may be none", {0: 1.0, 1: 0.001}, {0: 256, 1: 0}),
    ("nobody has a share", {0: 0.0, 1: 0.0}, {}),
    ("nobody is there", {}, {}),
]


@pytest.mark.parametrize(("why", "shares", "counts"), COUNTS, ids=[row[0] for row in COUNTS])
def test_slot_counts(why: str, shares: dict[int, float], counts: dict[int, int]) -> None:
    assert slot_counts(shares) == counts


def test_more_paths_than_slots_get_one_each_while_slots_last() -> None:
    counts = slot_counts(dict.fromkeys(range(300), 1.0))
    assert [path for path, count in counts.items() if count] == list(range(SLOTS))


def test_no_shares_is_no_path() -> None:
    assert fill_slots([0] * SLOTS, {}) == EMPTY
    assert fill_slots([0] * SLOTS, {0: 0.0}) == EMPTY


@pytest.mark.parametrize("shares", [{0: 1.0, 1: 1.0}, {0: 4.0, 1: 1.0}, {3: 5.0, 4: 2.0, 9: 1.0}])
def test_a_fresh_table_is_interleaved(shares: dict[int, float]) -> None:
    """A path of share s has a slot in every 1/s: gaps stay within two of that, round the end too."""
    table = fill_slots(EMPTY, shares)
    total = sum(shares.values())
    for path, share in shares.items():
        places = [slot for slot, owner in enumerate(table) if owner == path]
        gaps = [later - earlier for earlier, later in pairwise([*places, places[0] + SLOTS])]
        assert max(gaps) <= total / share + 2


def test_a_path_that_dies_leaves_the_others_where_they_are() -> None:
    before = fill_slots(EMPTY, {0: 1.0, 1: 1.0, 2: 1.0})
    after = fill_slots(before, {0: 1.0, 2: 1.0})
    moved = [slot for slot in range(SLOTS) if after[slot] != before[slot]]
    assert moved == [slot for slot in range(SLOTS) if before[slot] == 1]


def test_the_order_of_shares_does_not_matter() -> None:
    before = fill_slots(EMPTY, {0: 1.0, 1: 1.0, 2: 1.0})
    assert fill_slots(before, {3: 1.0, 0: 2.0, 1: 2.0}) == fill_slots(before, {1: 2.0, 0: 2.0, 3: 1.0})
