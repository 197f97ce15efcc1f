"""Which slots move: none that need not, busy ones only where that brings something."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest

from mpbond.abi import NO_PATH, SLOTS
from mpbond.rows import Bools, Floats
from mpbond.slots import IN_TURN, rearranged

FRESH = [NO_PATH] * SLOTS
EVEN = rearranged(FRESH, {0: 1, 1: 1}, np.zeros(SLOTS), {}, np.zeros(SLOTS, bool))
STAY, MAY = np.zeros(SLOTS, bool), np.ones(SLOTS, bool)


def busy(**slots: float) -> Floats:
    """s7=3 is a slot with a traffic of 3."""
    demand = np.zeros(SLOTS)
    for name, traffic in slots.items():
        demand[int(name[1:])] = traffic
    return demand


def moved(before: list[int], after: list[int]) -> list[int]:
    return [slot for slot in range(SLOTS) if before[slot] != after[slot]]


def own(table: list[int], path: int, count: int) -> list[int]:
    return [slot for slot in range(SLOTS) if table[slot] == path][:count]


def traffic(table: list[int], demand: Floats) -> dict[int, float]:
    paths = np.array(table)
    return {int(path): float(demand[paths == path].sum()) for path in np.unique(paths)}


def test_a_fresh_table_is_met_in_turn_as_the_shares_are() -> None:
    """Whatever twelve flows begin one after the other, two of them are on the small path."""
    table = rearranged(FRESH, {0: 5, 1: 1}, np.zeros(SLOTS), {}, STAY)
    met = [table[slot] for slot in IN_TURN]
    for start in range(SLOTS - 12):
        assert met[start : start + 12].count(1) in (1, 2, 3)


def test_without_a_share_nobody_has_a_slot() -> None:
    assert rearranged(EVEN, {0: 0.0}, np.zeros(SLOTS), {}, MAY) == FRESH


def test_the_same_shares_move_nothing() -> None:
    assert rearranged(EVEN, {0: 1, 1: 1}, np.ones(SLOTS), {0: 128, 1: 128}, MAY) == EVEN


def test_idle_slots_make_up_for_other_shares_and_are_taken_evenly() -> None:
    after = rearranged(EVEN, {0: 3, 1: 1}, np.zeros(SLOTS), {}, STAY)
    assert Counter(after) == {0: 192, 1: 64}
    assert len(moved(EVEN, after)) == 64
    met = [after[slot] for slot in IN_TURN]
    assert all(met[start : start + 16].count(1) in (2, 3, 4, 5, 6) for start in range(SLOTS - 16))


def test_busy_slots_stay_where_idle_ones_can_move() -> None:
    slots = own(EVEN, 1, 20)
    demand = busy(**{f"s{slot}": 1 for slot in slots})
    after = rearranged(EVEN, {0: 3, 1: 1}, demand, {0: 0, 1: 20}, MAY)
    assert Counter(after)[1] == 64
    assert all(after[slot] == 1 for slot in slots)


def test_busy_slots_that_must_not_move_leave_the_numbers_as_they_are() -> None:
    after = rearranged(EVEN, {0: 3, 1: 1}, np.ones(SLOTS), {0: 192, 1: 64}, STAY)
    assert after == EVEN


def test_a_path_that_goes_gives_up_everything_and_nothing_else_moves() -> None:
    slots = own(EVEN, 1, 8)
    demand = busy(**{f"s{slot}": 1 for slot in slots})
    three = rearranged(EVEN, {0: 1, 1: 1, 2: 1}, demand, {}, STAY)
    after = rearranged(three, {0: 1, 2: 1}, demand, {0: 4, 2: 4}, STAY)
    assert set(moved(three, after)) == {slot for slot in range(SLOTS) if three[slot] == 1}
    assert traffic(after, demand) == {0: 4, 2: 4}


@dataclass(frozen=True)
class Case:
    """`traffic` of the busy slots of path 0 and of path 1; what each carries in the end."""

    why: str
    zero: tuple[float, ...]
    one: tuple[float, ...]
    wanted: tuple[float, float]
    found: tuple[float, float]
    movable: Bools | None = None


CASES = [
    Case("half of four goes over", (1, 1, 1, 1), (), (2, 2), (2, 2)),
    Case("the largest that fits", (5, 3, 1), (), (6, 3), (6, 3)),
    Case("one that is too large stays", (10,), (), (5, 5), (10, 0)),
    Case("a little too large is better than nothing", (10, 3), (), (11, 2), (10, 3)),
    Case("as is wanted already", (3, 1), (4,), (4, 4), (4, 4)),
    Case("nearly so is left", (100,) * 4, (97,) * 4, (394, 394), (400, 388)),
    Case("small change is left", (100, 100, 4), (200,), (202, 202), (204, 200)),
    Case("not where it must not", (1, 1, 1, 1), (), (2, 2), (4, 0), STAY),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.why)
def test_busy_slots_change_places_with_idle_ones(case: Case) -> None:
    demand = np.zeros(SLOTS)
    for path, of in ((0, case.zero), (1, case.one)):
        demand[own(EVEN, path, len(of))] = of
    wanted = {0: case.wanted[0], 1: case.wanted[1]}
    after = rearranged(EVEN, {0: 1, 1: 1}, demand, wanted, MAY if case.movable is None else case.movable)
    assert traffic(after, demand) == {0: case.found[0], 1: case.found[1]}
    assert Counter(after) == Counter(EVEN), "numbers stay"
