"""Sums and extremes of rows that belong together; rates of slots."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpbond.groups import Groups
from mpbond.slotrates import SlotRates

S = 1_000_000_000
ROWS = st.lists(st.tuples(st.integers(-3, 3), st.one_of(st.floats(-1e6, 1e6), st.just(math.nan))))


@given(ROWS)
@settings(max_examples=100, deadline=None, database=None)
def test_groups_are_as_by_hand(rows: list[tuple[int, float]]) -> None:
    keys, figures = [key for key, _ in rows], np.array([figure for _, figure in rows])
    groups = Groups(keys)
    assert groups.keys.tolist() == sorted(set(keys))
    for at, key in enumerate(sorted(set(keys))):
        own = [row for row, other in enumerate(keys) if other == key]
        known = [figures[row] for row in own if not math.isnan(figures[row])]
        assert groups.rows(at).tolist() == own
        assert groups.max(figures)[at] == (max(known) if known else pytest.approx(math.nan, nan_ok=True))
        assert groups.min(figures)[at] == (min(known) if known else pytest.approx(math.nan, nan_ok=True))
        assert groups.any(figures > 0)[at] == any(figure > 0 for figure in known)
        assert groups.sum(np.nan_to_num(figures))[at] == pytest.approx(sum(known))


def counted(slot: int, count: int) -> np.ndarray:
    table = np.zeros((1, 256), np.uint64)
    table[0, slot] = count
    return table


def test_a_slots_rate_rises_at_once_and_fades() -> None:
    rates = SlotRates()
    rates.follow([9])
    for second, count in enumerate((1_000_000, 1_125_000, 1_125_000, 1_125_000)):
        rates.update((second + 1) * S, counted(7, count))
    assert rates.of(9)[7] == pytest.approx(1e6 / 4)
    rates.update(5 * S, counted(7, 2_375_000))
    assert rates.of(9)[7] == pytest.approx(1e7)
    assert rates.of(9).sum() == rates.of(9)[7]


def test_a_counter_that_began_anew_is_no_traffic() -> None:
    rates = SlotRates()
    rates.follow([9])
    rates.update(1 * S, counted(7, 1 << 40))
    rates.update(2 * S, counted(7, 5))
    assert rates.of(9)[7] == 0


def test_rates_are_due_every_second() -> None:
    rates = SlotRates()
    rates.follow([9])
    rates.update(10 * S, counted(0, 0))
    assert [rates.due(10 * S + at) for at in (0, S // 2, S)] == [False, False, True]
