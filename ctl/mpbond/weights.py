"""Shares -> a table of 256 slots, changed only where it must be. Pure.

Slots are given by largest remainder, so every path is within one slot of its
share; a slot keeps its path while that path is owed as many slots as it has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mpbond.abi import NO_PATH, SLOTS


def slot_counts(shares: Mapping[int, float]) -> dict[int, int]:
    """Path -> number of slots; they sum to 256 where any share is positive."""
    total = sum(shares.values())
    if total <= 0:
        return {}
    exact = {path: SLOTS * share / total for path, share in shares.items() if share > 0}
    counts = {path: int(value) for path, value in exact.items()}
    rest = SLOTS - sum(counts.values())
    by_remainder = sorted(exact, key=lambda path: (counts[path] - exact[path], path))
    for path in by_remainder[:rest]:
        counts[path] += 1
    return counts


def fill_slots(current: Sequence[int], shares: Mapping[int, float]) -> list[int]:
    """The new table: `current` with as few slots changed as the shares allow.

    With no positive share every slot is NO_PATH. A fresh table (all NO_PATH)
    comes out interleaved: a path of share s has about every 1/s-th slot.
    """
    owed = slot_counts(shares)
    if not owed:
        return [NO_PATH] * SLOTS
    table = [NO_PATH] * SLOTS
    for slot, path in enumerate(current):
        if owed.get(path, 0) > 0:
            table[slot] = path
            owed[path] -= 1
    due = {path: count for path, count in owed.items() if count}
    for slot in range(SLOTS):
        if table[slot] == NO_PATH:
            path = max(due, key=lambda candidate: (owed[candidate] / due[candidate], -candidate))
            table[slot] = path
            owed[path] -= 1
    return table
