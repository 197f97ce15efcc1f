"""A path's states: every event in every state, upDelay, flaps, and what counts as a change."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import pytest

from mpbond.health import FLAP_MEMORY_NS, MAX_HOLD_NS, TRANSITIONS, Event, Health, State, hold_ns

MS = 1_000_000
S = 1_000 * MS

# Every state with every event; the same state again where nothing happens.
TABLE = {
    (State.DOWN, Event.ALIVE): State.WAITING,
    (State.DOWN, Event.DEAD): State.DOWN,
    (State.DOWN, Event.SERVED): State.DOWN,
    (State.DOWN, Event.RELEASED): State.DOWN,
    (State.WAITING, Event.ALIVE): State.WAITING,
    (State.WAITING, Event.DEAD): State.DOWN,
    (State.WAITING, Event.SERVED): State.HELD,
    (State.WAITING, Event.RELEASED): State.WAITING,
    (State.HELD, Event.ALIVE): State.HELD,
    (State.HELD, Event.DEAD): State.DOWN,
    (State.HELD, Event.SERVED): State.HELD,
    (State.HELD, Event.RELEASED): State.UP,
    (State.UP, Event.ALIVE): State.UP,
    (State.UP, Event.DEAD): State.DOWN,
    (State.UP, Event.SERVED): State.UP,
    (State.UP, Event.RELEASED): State.UP,
}


def test_the_table_is_whole() -> None:
    assert set(TABLE) == set(product(State, Event))


@pytest.mark.parametrize(("state", "event"), TABLE)
def test_transition(state: State, event: Event) -> None:
    assert TRANSITIONS.get((state, event), state) is TABLE[state, event]


@dataclass(frozen=True)
class Case:
    """`seen`: (ms, alive) in turn; `states` after each; `changes`: which ones told of one."""

    why: str
    up_delay_ms: int
    seen: tuple[tuple[int, bool], ...]
    states: str
    changes: str


CASES = [
    Case("without upDelay a path is up with its first proof", 0, ((5, True),), "u", "!"),
    Case("dead from the start is nothing new", 0, ((5, False), (6, False)), "dd", ".."),
    Case(
        "upDelay is served to the millisecond",
        100,
        ((10, True), (109, True), (110, True)),
        "wwu",
        "..!",
    ),
    Case("a death ends the wait", 100, ((10, True), (50, False), (110, True)), "wdw", "..."),
    Case(
        "and the wait begins anew",
        100,
        ((10, True), (50, False), (110, True), (209, True), (210, True)),
        "wdwwu",
        "....!",
    ),
    Case("a path that is up dies at once", 100, ((0, True), (100, True), (101, False)), "wud", ".!!"),
    Case("and serves again", 100, ((0, True), (100, True), (101, False), (102, True)), "wudw", ".!!."),
    Case("staying alive is no change", 0, ((1, True), (2, True), (3, True)), "uuu", "!.."),
    Case("a clock that starts at zero", 100, ((0, True), (99, True), (100, True)), "wwu", "..!"),
    Case("a long silence of the caller serves too", 100, ((10, True), (9999, True)), "wu", ".!"),
    Case("one failure costs upDelay alone", 0, ((0, True), (1, False), (2, True)), "udu", "!!!"),
    Case(
        "from the second on a path is held, at first for failoverInterval",
        0,
        ((0, True), (1, False), (2, True), (3, False), (4, True), (203, True), (204, True)),
        "ududhhu",
        "!!!!..!",
    ),
    Case(
        "or for upDelay where that is longer",
        300,
        (
            *((0, True), (300, True), (301, False), (302, True), (303, False)),
            *((304, True), (603, True), (604, True)),
        ),
        "wudwdwwu",
        ".!!....!",
    ),
    Case(
        "a failure while it is held counts like any other: twice as long",
        0,
        (
            *((0, True), (1, False), (2, True), (3, False), (4, True), (5, False)),
            *((6, True), (405, True), (406, True)),
        ),
        "ududhdhhu",
        "!!!!....!",
    ),
]


def seen(health: Health, at_ns: int, alive: bool, up_delay_ms: int = 0) -> bool:
    return health.observe(alive, at_ns, up_delay_ns=up_delay_ms * MS, failover_ns=200 * MS)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.why)
def test_observe(case: Case) -> None:
    health = Health()
    states, changes = "", ""
    for at_ms, alive in case.seen:
        changed = seen(health, at_ms * MS, alive, case.up_delay_ms)
        states += health.state.value[0]
        changes += "!" if changed else "."
        assert health.eligible == (health.state is State.UP)
        assert health.restless == (health.state in (State.WAITING, State.HELD))
    assert (states, changes) == (case.states, case.changes)


def test_since_is_when_the_state_began() -> None:
    health = Health()
    found = []
    for at_ms, alive in ((10, True), (60, True), (110, True), (150, True), (170, False)):
        seen(health, at_ms * MS, alive, 100)
        found.append(health.since_ns // MS)
    assert found == [10, 10, 110, 110, 170]


# ---- flapping -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flaps", "up_delay_ms", "failover_ms", "held_ms"),
    [
        (0, 1000, 100, 0),
        (1, 1000, 100, 0),
        (2, 0, 100, 100),
        (2, 1000, 100, 1000),
        (3, 0, 100, 200),
        (4, 0, 100, 400),
        (7, 0, 100, 3200),
        (11, 0, 100, 51_200),
        (12, 0, 100, 60_000),
        (500, 0, 100, 60_000),
        (2, 65_535, 100, 60_000),  # upDelay itself is served all the same
    ],
)
def test_the_hold_doubles_up_to_a_minute(
    flaps: int, up_delay_ms: int, failover_ms: int, held_ms: int
) -> None:
    assert hold_ns(flaps, up_delay_ms * MS, failover_ms * MS) == held_ms * MS


def flapped(times: int, every_ns: int = 100 * MS) -> tuple[Health, int]:
    """A path that came and went so often; the moment of its last failure."""
    health, at_ns = Health(), 0
    for _ in range(times):
        seen(health, at_ns, True)
        seen(health, at_ns + every_ns // 2, False)
        at_ns += every_ns
    return health, at_ns - every_ns // 2


def test_flaps_and_what_is_left_of_the_hold_are_told() -> None:
    health, now_ns = flapped(6)
    assert health.flaps(now_ns) == 6
    assert health.held_ns(now_ns) == 0, "a path that is down is not held"
    seen(health, now_ns + MS, True)
    assert health.state is State.HELD
    assert health.held_ns(now_ns + MS) == 3200 * MS
    assert health.held_ns(now_ns + 1001 * MS) == 2200 * MS


def test_a_calm_minute_ends_it() -> None:
    health, last_ns = flapped(3)
    seen(health, last_ns + MS, True)
    seen(health, last_ns + S, True)
    assert health.eligible
    assert health.flaps(last_ns + FLAP_MEMORY_NS - 1) == 3
    calm_ns = last_ns + FLAP_MEMORY_NS
    assert health.flaps(calm_ns) == 0
    seen(health, calm_ns, False)
    assert health.flaps(calm_ns) == 1
    seen(health, calm_ns + MS, True)
    assert health.eligible, "a first failure again"


def test_a_minute_less_a_moment_does_not() -> None:
    health, last_ns = flapped(3)
    seen(health, last_ns + MS, True)
    seen(health, last_ns + S, True)
    seen(health, last_ns + FLAP_MEMORY_NS - MS, False)
    seen(health, last_ns + FLAP_MEMORY_NS, True)
    assert (health.state, health.flaps(last_ns + FLAP_MEMORY_NS)) == (State.HELD, 4)


def test_a_path_that_was_away_for_longer_did_not_flap() -> None:
    health, last_ns = flapped(9)
    seen(health, last_ns + FLAP_MEMORY_NS, True)
    assert health.eligible


def test_it_is_never_held_for_more_than_a_minute() -> None:
    health, last_ns = flapped(50)
    seen(health, last_ns + MS, True)
    assert health.held_ns(last_ns + MS) == MAX_HOLD_NS
    seen(health, last_ns + MS + MAX_HOLD_NS - 1, True)
    assert not health.eligible
    assert seen(health, last_ns + MS + MAX_HOLD_NS, True)


def test_a_caller_that_was_asleep_saw_no_flap() -> None:
    """A stalled controller: the path is alive before and after, whatever lies between."""
    health = Health()
    for at_s in (0, 1, 31, 61, 200):
        seen(health, at_s * S, True)
    assert (health.state, health.failures) == (State.UP, 0)


def test_a_hold_can_be_waived_and_is_remembered() -> None:
    health, now_ns = flapped(5)
    assert not health.release(now_ns), "it is down"
    seen(health, now_ns + MS, True)
    assert health.release(now_ns + 2 * MS)
    assert health.eligible and health.held_ns(now_ns + 2 * MS) == 0
    seen(health, now_ns + 3 * MS, False)
    assert health.flaps(now_ns + 3 * MS) == 6


def test_up_delay_is_not_waived() -> None:
    health = Health()
    seen(health, 0, True, 100)
    assert not health.release(MS)
    assert health.state is State.WAITING
