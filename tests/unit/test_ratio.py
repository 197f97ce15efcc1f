"""Ratios over the longest window in which nothing has changed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest

from mpbond.ratio import WINDOWS, at_least, at_most, ratios

# One side of two and of three standard deviations of a normal distribution.
BEYOND = {2.0: 0.0228, 3.0: 0.00135}


def tail(mean: float, count: int) -> float:
    """How likely it is to see `count` or more where `mean` is expected (Poisson)."""
    return 1.0 - sum(math.exp(n * math.log(mean) - mean - math.lgamma(n + 1)) for n in range(count))


@pytest.mark.parametrize("sigmas", BEYOND)
@pytest.mark.parametrize("count", [1, 2, 3, 5, 10, 30, 100, 300])
def test_bounds_are_those_of_poisson(count: int, sigmas: float) -> None:
    seen = np.array(float(count))
    least, most = float(at_least(seen, sigmas)), float(at_most(seen, sigmas))
    if least > 0:
        assert BEYOND[sigmas] / 5 < tail(least, count) < BEYOND[sigmas] * 1.5
    assert BEYOND[sigmas] / 3 < 1 - tail(most, count + 1) < BEYOND[sigmas] * 1.5


def test_nothing_seen_proves_nothing() -> None:
    assert at_least(np.zeros(1), 3.0) == [0.0]
    assert at_least(np.ones(1), 3.0) == [0.0]
    assert at_most(np.zeros(1), 2.0) == pytest.approx([3.6], abs=0.2)


@dataclass(frozen=True)
class Case:
    """`bad` and `every`: in each second of the last minute, the newest first."""

    why: str
    bad: list[float]
    every: list[int]
    value: float
    doubt: float = 0.0


CASES = [
    Case("nothing counted at all", [0] * 60, [0] * 60, math.nan),
    Case("nothing bad", [0] * 60, [100] * 60, 0.0),
    Case("the same all the time: the whole minute counts", [1] * 60, [100] * 60, 0.01),
    Case("only the last second has anything", [10] + [0] * 59, [100] + [0] * 59, 0.1),
    Case("it began four seconds ago", [20] * 4 + [0] * 56, [100] * 60, 0.2),
    Case("it is over since four seconds", [0] * 4 + [20] * 56, [100] * 60, 0.0),
    Case("it doubled half a minute ago", [20] * 32 + [10] * 28, [1000] * 60, 0.02),
    Case("a few probes do not show so quickly that it is over", [0] * 4 + [1] * 56, [8] * 60, 56 / 480),
    Case("one bad packet changes nothing", [1] + [0] * 59, [100] * 60, 1 / 6000),
    Case("as many may only seem lost", [20] + [0] * 59, [1000] * 60, 20 / 60000, doubt=40),
    Case("more cannot only seem so", [500] + [0] * 59, [1000] * 60, 0.5, doubt=40),
    Case("what seems over may not be", [0] * 4 + [30] * 4 + [0] * 52, [1000] * 60, 120 / 16000, doubt=40),
    Case("more came than were sent: they had overtaken", [-5] * 60, [100] * 60, 0.0),
    Case("all bad", [100] * 60, [100] * 60, 1.0),
]


def windows(seconds: list[float] | list[int]) -> list[float]:
    return [sum(seconds[:width]) for width in WINDOWS]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.why)
def test_ratio(case: Case) -> None:
    bad = np.array([windows(case.bad)]).T[np.newaxis]
    every = np.array([windows(case.every)]).T[np.newaxis]
    found = ratios(bad, every, np.array([[case.doubt]]))
    assert found.value.item() == pytest.approx(case.value, nan_ok=True)
    if not math.isnan(case.value):
        assert 0 <= found.least.item() <= found.value.item()


def test_paths_and_kinds_do_not_mix() -> None:
    every = np.array([windows([100] * 60)]).T
    bad = [np.array([windows([rate] * 60)]).T for rate in (1, 5, 0, 20)]
    table = np.stack((np.concatenate((bad[0], bad[1]), axis=1), np.concatenate((bad[2], bad[3]), axis=1)))
    found = ratios(table, np.broadcast_to(every, table.shape), np.zeros((2, 2)))
    assert found.value == pytest.approx(np.array([[0.01, 0.05], [0.0, 0.2]]))
