"""Lets an estimator look at made-up paths period by period."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mpbond.estimate import PathEstimator
from mpbond.samples import Estimate, Estimates
from tests.unit.path_model import MS, SECOND, PathModel, sample

PERIOD_NS = 250 * MS
# CLOCK_MONOTONIC as a path begins.
BEGAN_NS = 1000 * SECOND + 123


def periods(
    models: Sequence[PathModel], seconds: float, *, since_s: float = 0, estimator: PathEstimator | None = None
) -> Iterator[tuple[float, Estimates]]:
    """(time in s, what is estimated) at each control period; path 0 is the first model."""
    if estimator is None:
        estimator = PathEstimator()
        estimator.follow(range(len(models)))
    for at_ns in range(int(since_s * SECOND), int(seconds * SECOND), PERIOD_NS):
        rows = [model.read(at_ns) for model in models]
        yield at_ns / SECOND, estimator.update(sample(BEGAN_NS + at_ns, rows))


def after(model: PathModel, seconds: float) -> Estimate:
    """Of one path."""
    *_, (_, last) = periods([model], seconds)
    return last.at(0)
