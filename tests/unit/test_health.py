"""A path's states: every event in every state, upDelay, and what counts as a change."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import pytest

from mpbond.health import TRANSITIONS, Event, Health, State

MS = 1_000_000

# Every state with every event; the same state again where nothing happens.
TABLE = {
    (State.DOWN, Event.ALIVE): State.WAITING,
    (State.DOWN, Event.DEAD): State.DOWN,
    (State.DOWN, Event.SERVED): State.DOWN,
    (State.WAITING, Event.ALIVE): State.WAITING,
    (State.WAITING, Event.DEAD): State.DOWN,
    (State.WAITING, Event.SERVED): State.UP,
    (State.UP, Event.ALIVE): State.UP,
    (State.UP, Event.DEAD): State.DOWN,
    (State.UP, Event.SERVED): State.UP,
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
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.why)
def test_observe(case: Case) -> None:
    health = Health()
    states, changes = "", ""
    for at_ms, alive in case.seen:
        changed = health.observe(alive, case.up_delay_ms * MS, at_ms * MS)
        states += health.state.value[0]
        changes += "!" if changed else "."
        assert health.eligible == (health.state is State.UP)
    assert (states, changes) == (case.states, case.changes)


def test_since_is_when_the_state_began() -> None:
    health = Health()
    found = []
    for at_ms, alive in ((10, True), (60, True), (110, True), (150, True), (170, False)):
        health.observe(alive, 100 * MS, at_ms * MS)
        found.append(health.since_ns // MS)
    assert found == [10, 10, 110, 110, 170]
