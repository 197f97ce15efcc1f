"""Which of a bond's 256 slots move when its shares or its traffic have changed. Pure.

A flow has a slot, so a slot that moves takes its flows along. Flows are let alone
where possible: idle slots make up for changed shares, and busy ones move only where
their path carries more than it should, or goes. Which ones: those that bring every
path as near as possible to what it should carry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mpbond.abi import NO_PATH, SLOTS
from mpbond.rows import Bools, Floats, Ints
from mpbond.weights import slot_counts

# New flows take slots in steps of this (bpf/select.h): slots that are spread evenly
# in that order are met evenly.
STRIDE = 157
IN_TURN = np.arange(SLOTS) * STRIDE % SLOTS
# A slot that has less than this part of the bond's traffic is idle.
IDLE_SHARE = 1e-4
# A move that overshoots by this part of the slot's traffic is still a gain.
OVERSHOOT = 0.5
# Paths that are as near as this to what they should carry, of all traffic, are let be.
TOLERANCE = 0.02


@dataclass(slots=True)
class _Table:
    """A table in the making: `path` (256,), what each path carries and should."""

    path: Ints
    demand: Floats
    carried: dict[int, float]
    wanted: Mapping[int, float]

    def move(self, slot: int, to: int) -> None:
        demand = float(self.demand[slot])
        before = int(self.path[slot])
        if before in self.carried:
            self.carried[before] -= demand
        self.carried[to] += demand
        self.path[slot] = to

    def lacks(self, path: int) -> float:
        """How much less than it should the path carries; negative where it is more."""
        return self.wanted[path] - self.carried[path]

    def slots_of(self, path: int) -> Ints:
        """In the order in which new flows take them."""
        found: Ints = IN_TURN[self.path[IN_TURN] == path]
        return found


def rearranged(
    current: Sequence[int],
    shares: Mapping[int, float],
    demand: Floats,
    wanted: Mapping[int, float],
    movable: Bools,
) -> list[int]:
    """The table after `current` for these `shares` (path -> share).

    `demand` (256,): the traffic of each slot, in any unit; `wanted`: path -> how much of
    it each path should carry; `movable` (256,): busy slots that may move though
    their path stays. Slots of paths without a share move in any case. A path gets the
    number of slots of its share, unless only busy slots that must not move could make
    that up.
    """
    owed = slot_counts(shares)
    if not owed:
        return [NO_PATH] * SLOTS
    idle = demand <= IDLE_SHARE * demand.sum()
    table = np.asarray(current, np.int64)
    carried = {path: float(demand[table == path].sum()) for path in owed}
    made = _Table(table.copy(), demand, carried, {path: wanted.get(path, 0.0) for path in owed})
    pool = [int(slot) for slot in IN_TURN if int(table[slot]) not in owed]
    for path in owed:
        pool += _given_up(made, path, owed[path], idle, movable)
    _hand_out(made, pool, owed)
    _swap(made, idle, movable)
    return [int(path) for path in made.path]


def _given_up(made: _Table, path: int, owed: int, idle: Bools, movable: Bools) -> list[int]:
    """Of a path with more slots than it is owed: busy ones as far as it carries too
    much, largest first, for the rest idle ones, evenly spread."""
    own = made.slots_of(path)
    surplus = len(own) - owed
    given: list[int] = []
    if surplus <= 0:
        return given
    too_much = -made.lacks(path)
    busy = own[movable[own] & ~idle[own]]
    for slot in busy[np.argsort(-made.demand[busy], kind="stable")]:
        demand = float(made.demand[slot])
        if len(given) < surplus and OVERSHOOT * demand <= too_much:
            given.append(int(slot))
            too_much -= demand
    free = own[idle[own]]
    count = min(surplus - len(given), len(free))
    even = (np.arange(count) * len(free)) // max(count, 1)
    return given + [int(slot) for slot in free[even]]


def _hand_out(made: _Table, pool: list[int], owed: Mapping[int, int]) -> None:
    """Largest first, each to the path that lacks most; those that carry nothing so that
    every path gets its number, in turn."""
    left = {path: owed[path] - int((made.path == path).sum()) for path in owed}
    for slot in pool:
        # What is given up is no longer its path's.
        if (path := int(made.path[slot])) in left:
            made.carried[path] -= float(made.demand[slot])
            left[path] += 1
        made.path[slot] = NO_PATH
    due = {path: count for path, count in left.items() if count > 0}
    busy = [slot for slot in pool if made.demand[slot] > 0]
    for slot in sorted(busy, key=lambda slot: -made.demand[slot]):
        open_to = [path for path in due if left[path] > 0]
        made.move(slot, max(open_to, key=lambda path: (made.lacks(path), left[path], -path)))
        left[int(made.path[slot])] -= 1
    for slot in (slot for slot in pool if made.demand[slot] <= 0):
        to = max(due, key=lambda path: (left[path] / due[path], -path))
        made.move(slot, to)
        left[to] -= 1


def _swap(made: _Table, idle: Bools, movable: Bools) -> None:
    """While a path carries too much and another too little: a busy slot of the one for
    an idle slot of the other, so that both keep their numbers. Every swap brings
    both nearer, so there is an end."""
    tolerance = TOLERANCE * float(made.demand.sum())
    while True:
        giver = min(made.carried, key=lambda path: (made.lacks(path), path))
        taker = max(made.carried, key=lambda path: (made.lacks(path), -path))
        gap = min(-made.lacks(giver), made.lacks(taker))
        if gap <= tolerance:
            return
        own = made.slots_of(giver)
        busy = own[movable[own] & ~idle[own]]
        fits = busy[OVERSHOOT * made.demand[busy] < gap]
        spare = made.slots_of(taker)
        spare = spare[idle[spare]]
        if not len(fits) or not len(spare):
            return
        made.move(int(fits[np.argmin(np.abs(made.demand[fits] - gap))]), taker)
        made.move(int(spare[0]), giver)
