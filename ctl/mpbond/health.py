"""A path's life as a table: down, waiting out upDelay, held for flapping, up. Pure;
`now_ns` is passed in.

A path is *alive* while the kernel has proof of it (see bpf/liveness.h) and its
link is up. Being alive is not yet being eligible: upDelay comes between, and for a
path that failed before within a minute a time that doubles with each flap. An
event that the table does not list changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

# How long a failure is remembered, and the longest that a path is held for its flaps
# (semantics, section 4).
FLAP_MEMORY_NS = 60_000_000_000
MAX_HOLD_NS = 60_000_000_000


class State(StrEnum):
    DOWN = "down"
    WAITING = "waiting"
    HELD = "held"
    UP = "up"


class Event(StrEnum):
    ALIVE = "alive"
    DEAD = "dead"
    SERVED = "upDelay served"
    RELEASED = "hold served or waived"


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.DOWN, Event.ALIVE): State.WAITING,
    (State.WAITING, Event.DEAD): State.DOWN,
    (State.WAITING, Event.SERVED): State.HELD,
    (State.HELD, Event.DEAD): State.DOWN,
    (State.HELD, Event.RELEASED): State.UP,
    (State.UP, Event.DEAD): State.DOWN,
}


def hold_ns(flaps: int, up_delay_ns: int, failover_ns: int) -> int:
    """How long a path that failed so often of late must be alive before it is used.
    One failure may happen to anyone; the second begins the doubling."""
    if flaps < 2:
        return 0
    base_ns = max(up_delay_ns, failover_ns)
    return min(base_ns << min(flaps - 2, 32), MAX_HOLD_NS)


@dataclass(slots=True)
class Health:
    """One path. `ready_at_ns` is when upDelay will have been served, `held_until_ns`
    when the hold will; `failures` are those of the burst that `failed_at_ns` ends."""

    state: State = State.DOWN
    since_ns: int = 0
    ready_at_ns: int = 0
    held_until_ns: int = 0
    failures: int = 0
    failed_at_ns: int = 0

    @property
    def eligible(self) -> bool:
        return self.state is State.UP

    @property
    def restless(self) -> bool:
        """May time alone change the state?"""
        return self.state in (State.WAITING, State.HELD)

    def flaps(self, now_ns: int) -> int:
        """Failures that still count: none after a calm minute."""
        return self.failures if now_ns - self.failed_at_ns < FLAP_MEMORY_NS else 0

    def held_ns(self, now_ns: int) -> int:
        """How much longer the path is kept out for its flaps."""
        return max(0, self.held_until_ns - now_ns) if self.restless else 0

    def observe(self, alive: bool, now_ns: int, *, up_delay_ns: int, failover_ns: int) -> bool:
        """Takes in whether the path is alive now. True if it became, or ceased to
        be, eligible. Only what is told counts: a caller that was asleep saw no flap."""
        before = self.eligible
        if not alive:
            self._fail(now_ns)
        elif self._step(Event.ALIVE, now_ns):
            self.ready_at_ns = now_ns + up_delay_ns
            self.held_until_ns = now_ns + hold_ns(self.flaps(now_ns), up_delay_ns, failover_ns)
        if self.state is State.WAITING and now_ns >= self.ready_at_ns:
            self._step(Event.SERVED, now_ns)
        if self.state is State.HELD and now_ns >= self.held_until_ns:
            self._step(Event.RELEASED, now_ns)
        return self.eligible != before

    def release(self, now_ns: int) -> bool:
        """Waives what is left of a hold. True if the path is eligible by that."""
        return self._step(Event.RELEASED, now_ns)

    def _fail(self, now_ns: int) -> None:
        flaps = self.flaps(now_ns)
        if self._step(Event.DEAD, now_ns):
            self.failures, self.failed_at_ns = flaps + 1, now_ns

    def _step(self, event: Event, now_ns: int) -> bool:
        following = TRANSITIONS.get((self.state, event))
        if following is None:
            return False
        self.state = following
        self.since_ns = now_ns
        return True
