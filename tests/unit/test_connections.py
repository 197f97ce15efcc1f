"""numConnections: the document's rules as a table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpbond.connections import MOST, agreed, wanted

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
