"""A path's life as a table: down, waiting out upDelay, up. Pure; `now_ns` is passed in.

A path is *alive* while the kernel has proof of it (see bpf/liveness.h) and its
link is up. Being alive is not yet being eligible: upDelay comes between. An
event that the table does not list changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    DOWN = "down"
    WAITING = "waiting"
    UP = "up"


class Event(StrEnum):
    ALIVE = "alive"
    DEAD = "dead"
    SERVED = "upDelay served"


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.DOWN, Event.ALIVE): State.WAITING,
    (State.WAITING, Event.DEAD): State.DOWN,
    (State.WAITING, Event.SERVED): State.UP,
    (State.UP, Event.DEAD): State.DOWN,
}


@dataclass(slots=True)
class Health:
    """One path. `ready_at_ns` is when upDelay will have been served."""

    state: State = State.DOWN
    since_ns: int = 0
    ready_at_ns: int = 0

    @property
    def eligible(self) -> bool:
        return self.state is State.UP

    def observe(self, alive: bool, up_delay_ns: int, now_ns: int) -> bool:
        """Takes in whether the path is alive now. True if it became, or ceased to
        be, eligible."""
        before = self.eligible
        self._step(Event.ALIVE if alive else Event.DEAD, now_ns)
        if self.state is State.WAITING and self.ready_at_ns == 0:
            self.ready_at_ns = now_ns + up_delay_ns
        if self.state is State.WAITING and now_ns >= self.ready_at_ns:
            self._step(Event.SERVED, now_ns)
        return self.eligible != before

    def _step(self, event: Event, now_ns: int) -> None:
        following = TRANSITIONS.get((self.state, event))
        if following is None:
            return
        self.state = following
        self.since_ns = now_ns
        self.ready_at_ns = 0
