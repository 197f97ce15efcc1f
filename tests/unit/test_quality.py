"""From what was measured to a score; the numbers are worked out by hand."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest

from mpbond.config.model import LinkQuality
from mpbond.quality import limits_of, scores

LIMITS = LinkQuality(
    lat_max_ms=400, pdv_max_ms=20, plr_max=0.01, per_max=0.001,
    lat_weight=0.4, pdv_weight=0.3, plr_weight=0.2, per_weight=0.1,
)  # fmt: skip
E4, E2, E1 = math.exp(-4), math.exp(-2), math.exp(-1)
UNKNOWN = math.nan


@dataclass(frozen=True)
class Case:
    """`measured`: latency and variation in ms, loss, errors."""

    why: str
    measured: tuple[float, float, float, float]
    score: float


CASES = [
    Case("nothing is known: perfect", (UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN), 1.0),
    Case("a path without flaws", (0.0, 0.0, 0.0, 0.0), 1.0),
    Case("everything at its limit", (400, 20, 0.01, 0.001), E4),
    Case("latency at half its limit", (200, UNKNOWN, UNKNOWN, UNKNOWN), 0.6 + 0.4 * E2),
    Case("variation at a quarter of its limit", (0, 5, UNKNOWN, UNKNOWN), 0.7 + 0.3 * E1),
    Case("loss at its limit", (0, 0, 0.01, UNKNOWN), 0.8 + 0.2 * E4),
    Case("errors at half their limit", (0, 0, 0, 0.0005), 0.9 + 0.1 * E2),
    Case("far beyond: nothing is left of that part", (1e9, 0, 0, 0), 0.6),
    Case("all of them far beyond", (1e9, 1e9, 1.0, 1.0), 0.0),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.why)
def test_score(case: Case) -> None:
    found = scores(np.array([case.measured]), limits_of([LIMITS]))
    assert found == pytest.approx([case.score], abs=1e-12)


def test_each_path_has_its_own_limits() -> None:
    found = scores(
        np.array([[500.0, 100.0, 0.001, 0.0001], [500.0, 0.0, 0.0, 0.0], [400.0, 20.0, 0.01, 0.001]]),
        limits_of([LinkQuality(), LinkQuality(), LIMITS]),
    )
    assert found == pytest.approx([E4, 0.75 + 0.25 * E4, E4])


def test_no_paths_no_scores() -> None:
    assert scores(np.zeros((0, 4)), limits_of([])).shape == (0,)
