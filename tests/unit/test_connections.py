"""numConnections: the document's rules as a table."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpbond.connections import (
    MOST,
    PACE_NS,
    Growth,
    Wishes,
    agreed,
    metadata_path,
    one_and_others,
    shares,
    wanted,
)

COUNTS = st.integers(-(2**31), 2**31 - 1)


@pytest.mark.parametrize(
    ("why", "this", "other", "result"),
    [
        ("both by default", 0, 0, 1),
        ("one side single", 1, 8, 1),
        ("the other side single", 8, 1, 1),
        ("the larger of the two", 3, 8, 8),
        ("in either order", 8, 3, 8),
        ("the default is a single one", 0, 5, 1),
        ("and so on the other side", 5, 0, 1),
        ("negative is one", -1, 5, 1),
        ("negative is one there too", 5, -7, 1),
        ("equal", 3, 3, 3),
        ("two", 2, 2, 2),
        ("at most 128", 200, 200, 128),
        ("at most 128, of the larger", 2, 200, 128),
        ("just at most", 128, 2, 128),
    ],
)
def test_negotiation(why: str, this: int, other: int, result: int) -> None:
    assert agreed(this, other) == result


@given(COUNTS, COUNTS)
def test_both_ends_come_to_the_same(this: int, other: int) -> None:
    assert agreed(this, other) == agreed(other, this)
    assert 1 <= agreed(this, other) <= MOST


@given(COUNTS, COUNTS)
def test_what_is_sent_says_as_much_as_what_is_configured(this: int, other: int) -> None:
    assert agreed(this, wanted(other)) == agreed(this, other)


@pytest.mark.parametrize(
    ("this", "other", "denied", "refused"),
    [
        (8, 1, 7, 0),
        (1, 8, 0, 7),
        (3, 8, 0, 0),
        (0, 5, 0, 4),
        (200, 200, 0, 0),
        (200, 1, 127, 0),
        (-1, 0, 0, 0),
    ],
)
def test_what_was_wanted_in_vain(this: int, other: int, denied: int, refused: int) -> None:
    """As the wish is sent: no more than 128 can be wanted."""
    wishes = Wishes(wanted(this), wanted(other))
    assert (wishes.denied, wishes.refused) == (denied, refused)
    assert wishes.agreed == agreed(this, other)


@given(COUNTS, COUNTS)
def test_what_one_end_refuses_the_other_is_denied(this: int, other: int) -> None:
    assert Wishes(this, other).denied == Wishes(other, this).refused


@pytest.mark.parametrize(
    ("agreed_on", "paths", "each"),
    [
        (1, 1, [1]),
        (8, 1, [8]),
        (3, 3, [3, 3, 3]),
        (128, 1, [128]),
        (128, 3, [43, 43, 42]),
        (64, 2, [64, 64]),
        (65, 2, [64, 64]),
        (2, 128, [1] * 128),
        (5, 0, []),
    ],
)
def test_shares(agreed_on: int, paths: int, each: list[int]) -> None:
    assert shares(agreed_on, paths) == each


@given(st.integers(1, MOST), st.integers(1, MOST), st.integers(0, MOST))
def test_shares_are_even_and_no_more_than_allowed(agreed_on: int, paths: int, most: int) -> None:
    split = shares(agreed_on, paths, most)
    assert max(split) - min(split) <= 1 and min(split) >= 1
    assert max(split) <= agreed_on
    assert sum(split) <= max(most, paths)
    assert sum(split) == agreed_on * paths or sum(split) == max(most, paths)


@pytest.mark.parametrize(
    ("why", "current", "order", "chosen"),
    [
        ("the best at first", None, [4, 2], 4),
        ("it stays though another is better", 2, [4, 2], 2),
        ("another when it fails", 2, [4, 5], 4),
        ("with none left it stays", 2, [], 2),
        ("none yet", None, [], None),
    ],
)
def test_the_metadatas_path(why: str, current: int | None, order: Sequence[int], chosen: int | None) -> None:
    assert metadata_path(current, order) == chosen


@pytest.mark.parametrize(("count", "text"), [(0, "0"), (1, "1 + 0"), (4, "1 + 3"), (128, "1 + 127")])
def test_one_and_others(count: int, text: str) -> None:
    assert one_and_others(count) == text


def grown(agreed_on: int, paths: Sequence[int], *, at_once: bool = True) -> Growth:
    growth = Growth()
    growth.follow(paths, (), {})
    growth.agree(agreed_on, 0, at_once=at_once)
    return growth


def test_all_at_once_when_the_bond_begins() -> None:
    assert grown(4, [0, 1]).counts == {0: 4, 1: 4}


def test_later_one_by_one_in_turns() -> None:
    growth = grown(3, [0, 1], at_once=False)
    seen = [dict(growth.counts)]
    for step in range(1, 7):
        assert not growth.tick(step * PACE_NS - 1)
        growth.tick(step * PACE_NS)
        seen.append(dict(growth.counts))
    wanted_steps = [(1, 1), (2, 1), (2, 2), (3, 2), (3, 3), (3, 3), (3, 3)]
    assert [(counts[0], counts[1]) for counts in seen] == wanted_steps


def test_fewer_at_once() -> None:
    growth = grown(8, [0, 1])
    growth.agree(2, 0, at_once=False)
    assert growth.counts == {0: 2, 1: 2} and not growth.growing


def test_a_path_that_comes_begins_with_one_and_the_others_make_room() -> None:
    growth = grown(MOST, [0, 1])
    growth.follow([0, 1, 2], (), {})
    assert growth.counts == {0: 43, 1: 43, 2: 1}
    assert growth.targets == {0: 43, 1: 43, 2: 42}


def test_what_an_earlier_controller_has_left_stays() -> None:
    growth = Growth(agreed=4)
    growth.follow([0, 1], (), {0: 4, 1: 3})
    assert growth.counts == {0: 4, 1: 3}


def test_paths_of_another_policy_have_one_each() -> None:
    growth = grown(MOST, [0])
    growth.follow([0], [1, 2], {})
    assert growth.counts == {0: 126, 1: 1, 2: 1}


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("paths"), st.sets(st.integers(0, 19), max_size=12)),
            st.tuples(st.just("agree"), st.integers(1, MOST)),
            st.tuples(st.just("time"), st.integers(0, 5 * PACE_NS)),
        ),
        max_size=30,
    )
)
def test_never_more_than_agreed_nor_than_128_in_all(events: list[tuple[str, object]]) -> None:
    growth, now_ns = Growth(), 0
    for kind, value in events:
        if kind == "paths":
            assert isinstance(value, set)
            growth.follow(sorted(value), (), {})
        elif kind == "agree":
            assert isinstance(value, int)
            growth.agree(value, now_ns, at_once=value % 2 == 0)
        else:
            assert isinstance(value, int)
            now_ns += value
            growth.tick(now_ns)
        assert growth.counts.keys() == growth.targets.keys()
        assert all(1 <= count <= growth.agreed for count in growth.counts.values())
        assert sum(growth.counts.values()) <= MOST
