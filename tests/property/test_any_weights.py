"""Whatever the shares and the table before: 256 slots, near their shares, few moved."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from mpbond.abi import NO_PATH, SLOTS
from mpbond.weights import fill_slots, slot_counts

PATHS = st.integers(0, 40)
SHARE = st.one_of(st.floats(0, 1e6, allow_subnormal=False), st.sampled_from((0.0, 0.25, 1.0, 1000.0)))
SHARES = st.dictionaries(PATHS, SHARE, max_size=12)
TABLES = st.one_of(
    st.lists(st.one_of(PATHS, st.just(NO_PATH)), min_size=SLOTS, max_size=SLOTS),
    SHARES.map(lambda shares: fill_slots([NO_PATH] * SLOTS, shares)),
)
EXAMPLES = settings(max_examples=100, deadline=None, database=None)


@given(SHARES)
@EXAMPLES
def test_slots_sum_up_and_are_within_one_of_the_share(shares: dict[int, float]) -> None:
    counts = slot_counts(shares)
    total = sum(shares.values())
    assert sum(counts.values()) == (SLOTS if total > 0 else 0)
    for path, count in counts.items():
        assert shares[path] > 0
        assert abs(count - SLOTS * shares[path] / total) < 1 + 1e-6


@given(TABLES, SHARES)
@EXAMPLES
def test_a_table_has_what_is_owed_and_moves_no_slot_that_need_not(
    current: list[int], shares: dict[int, float]
) -> None:
    before = list(current)
    table = fill_slots(current, shares)
    owed = slot_counts(shares)
    assert current == before
    if not owed:
        assert table == [NO_PATH] * SLOTS
        return
    assert Counter(table) == Counter({path: count for path, count in owed.items() if count})
    had = Counter(current)
    can_stay = sum(min(had[path], count) for path, count in owed.items())
    assert sum(now != was for now, was in zip(table, current, strict=True)) == SLOTS - can_stay


@given(TABLES, SHARES)
@EXAMPLES
def test_a_second_time_moves_nothing(current: list[int], shares: dict[int, float]) -> None:
    table = fill_slots(current, shares)
    assert fill_slots(table, dict(reversed(shares.items()))) == table
