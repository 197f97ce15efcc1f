"""Flows of the rig as the programs keep them: in the map, and as a word of the cache."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps

import numpy as np
import pytest

from mpbond import abi
from tests.bpf.packets import ether, tcp4
from tests.bpf.rig import Bond, Rig

SEEN_SHIFT, TICK_SHIFT = 30, 20
CLOCK_MONOTONIC_COARSE = 6
HIGH = 0xFFFFFFFF << 32


def seen_now() -> int:
    """The kernel's coarse second, as the programs have it."""
    return time.clock_gettime_ns(CLOCK_MONOTONIC_COARSE) >> SEEN_SHIFT


def ticks_now() -> int:
    """The same in the ticks of flowlets.h, about a millisecond each."""
    return time.clock_gettime_ns(CLOCK_MONOTONIC_COARSE) >> TICK_SHIFT


Test = Callable[..., None]


def _while(clock: Callable[[], int], tries: int) -> Callable[[Test], Test]:
    """Again, where the clock has gone on under the test's feet."""

    def decorate(test: Test) -> Test:
        @wraps(test)
        def again(rig: Rig, **given: object) -> None:
            for _ in range(tries):
                rig.reset()
                before = clock()
                try:
                    test(rig, **given)
                except AssertionError:
                    if clock() == before:
                        raise
                if clock() == before:
                    return
            pytest.fail("never while the clock stood")

        return again

    return decorate


within_a_second = _while(seen_now, 5)


def within_a_step(act: Callable[[], int], tries: int = 50) -> int:
    """What `act`, a packet or two, gives while the coarse clock stands: it steps every
    few ms, so it is begun just behind a step. `act` may be done again."""
    for _ in range(tries):
        step = ticks_now()
        while (begun := ticks_now()) == step:
            pass
        found = act()
        if ticks_now() == begun:
            return found
    pytest.fail("the clock never stood for so long")


@dataclass(slots=True)
class Flow:
    """One flow of a bond and where it is kept."""

    rig: Rig
    bond: Bond
    sport: int
    key: bytes

    @property
    def hash(self) -> int:
        return int.from_bytes(self.key, "little")

    @property
    def at(self) -> int:
        return self.hash % len(self.rig.plane.flow_cache)

    @property
    def word(self) -> int:
        return int(self.rig.plane.flow_cache[self.at])

    @word.setter
    def word(self, value: int) -> None:
        self.rig.plane.flow_cache[self.at] = value

    def made_word(self, path: int, seen: int) -> int:
        return self.hash & HIGH | (seen & 0xFFFF) << 16 | path

    def entry(self) -> tuple[int, int] | None:
        """Path and second in the map."""
        raw = self.rig.plane.maps["flows"].get(self.key)
        if raw is None:
            return None
        value = np.frombuffer(raw, abi.FLOW)[0]
        return int(value["path"]), int(value["seen_s"])

    def put(self, path: int, seen: int) -> None:
        value = np.zeros((), abi.FLOW)
        value["path"], value["seen_s"] = path, seen
        self.rig.plane.maps["flows"].put(self.key, value.tobytes())

    def evict(self) -> None:
        self.rig.plane.maps["flows"].delete(self.key)

    def take(self) -> int:
        """The path number that its next packet takes."""
        path = self.rig.path_taken(self.bond)
        assert self.rig.run("tx", ether(tcp4(self.sport))).reason == "tx_sent"
        return path()


def begin(rig: Rig, bond: Bond, sport: int = 40000, path: int = 0) -> Flow:
    """A new flow, placed on path number `path`."""
    rig.set_slots(bond, [bond.paths[path]])
    before = set(rig.plane.maps["flows"].all_keys())
    assert rig.run("tx", ether(tcp4(sport))).reason == "tx_sent"
    (key,) = set(rig.plane.maps["flows"].all_keys()) - before
    return Flow(rig, bond, sport, key)


def slots_to(rig: Rig, bond: Bond, path: int) -> None:
    """New flows go there from now on; others do not."""
    rig.set_slots(bond, [bond.paths[path]])
