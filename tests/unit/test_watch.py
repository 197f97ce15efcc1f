"""Netlink datagrams to events: real ones, several at once, and rubbish."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpbond.kernel.watch import ChangeEvent, LinkEvent, parse
from tests.unit.netlink_datagrams import (
    ADDRESS,
    ADMIN_DOWN,
    CARRIER,
    DELETED,
    IFINDEX,
    LEFT_BRIDGE,
    NO_CARRIER,
    ROUTE,
)

UP, DOWN, CHANGE = LinkEvent(IFINDEX, True), LinkEvent(IFINDEX, False), ChangeEvent()

DATAGRAMS = [
    ("a link that is up and has carrier", CARRIER, [UP, CHANGE]),
    ("up, but without carrier", NO_CARRIER, [DOWN, CHANGE]),
    ("taken down", ADMIN_DOWN, [DOWN, CHANGE]),
    ("deleted", DELETED, [DOWN, CHANGE]),
    ("left its bridge: a deletion that is none", LEFT_BRIDGE, [CHANGE]),
    ("an address", ADDRESS, [CHANGE]),
    ("a route", ROUTE, [CHANGE]),
    ("several messages: one change for all", CARRIER + ADDRESS + NO_CARRIER, [UP, DOWN, CHANGE]),
    ("a message that is no more than its header", struct.pack("=IHHII", 16, 24, 0, 0, 0), [CHANGE]),
    ("a link message cut after what matters", CARRIER[:32], [UP, CHANGE]),
    ("a second message cut short of it", CARRIER + ADMIN_DOWN[:31], [UP, CHANGE]),
    ("nothing", b"", []),
]


@pytest.mark.parametrize(("why", "data", "events"), DATAGRAMS, ids=[row[0] for row in DATAGRAMS])
def test_datagram(why: str, data: bytes, events: list[object]) -> None:
    assert list(parse(data)) == events


def test_a_message_of_odd_length_is_followed_by_padding() -> None:
    odd = struct.pack("=IHHII", 17, 24, 0, 0, 0) + b"x\0\0\0"
    assert list(parse(odd + CARRIER)) == [UP, CHANGE]


def test_a_length_below_the_header_ends_the_datagram() -> None:
    """Not an endless loop: nothing after it can be found."""
    assert list(parse(CARRIER + bytes(16) + ADMIN_DOWN)) == [UP, CHANGE]


@pytest.mark.parametrize("length", [0, 1, 15, 16, 20, 31])
def test_a_link_message_cut_short_names_no_link(length: int) -> None:
    events = list(parse(CARRIER[:length]))
    assert not any(isinstance(event, LinkEvent) for event in events)


def test_a_link_message_that_says_it_is_short_is_not_read_beyond_its_end() -> None:
    short = struct.pack("=IHHII", 16, 16, 0, 0, 0)
    assert list(parse(short + ADDRESS)) == [CHANGE]


@given(
    st.one_of(
        st.binary(max_size=200),
        st.tuples(st.sampled_from((CARRIER, DELETED, ADDRESS)), st.integers(0, 1500)).map(
            lambda cut: cut[0][: cut[1]]
        ),
        st.tuples(st.integers(0, 63), st.binary(min_size=1, max_size=8)).map(
            lambda hit: CARRIER[: hit[0]] + hit[1] + CARRIER[hit[0] + len(hit[1]) :]
        ),
    )
)
@settings(max_examples=300, deadline=None, database=None)
def test_whatever_comes_it_is_read_to_an_end(data: bytes) -> None:
    events = list(parse(data))
    assert all(isinstance(event, LinkEvent | ChangeEvent) for event in events)
    assert events.count(CHANGE) <= 1
