"""From round trips to a score; the numbers are worked out by hand."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest

from mpbond.abi import RTT_SAMPLES
from mpbond.config.model import LinkQuality
from mpbond.quality import Measurement, measure_rtt, score

MS = 1_000_000


def ring(*rtts_ms: float) -> np.ndarray:
    """The kernel's ring, with rubbish where no sample is yet."""
    samples = np.full(RTT_SAMPLES, 0xFFFFFFFF, np.uint32)
    samples[: len(rtts_ms)] = [int(rtt * MS) for rtt in rtts_ms]
    return samples


@dataclass(frozen=True)
class Rtt:
    why: str
    samples: np.ndarray
    count: int
    latency_ms: float | None
    pdv_ms: float | None


RTTS = [
    Rtt("nothing measured yet", ring(), 0, None, None),
    Rtt("latency is half the round trip", ring(30), 1, 15.0, 0.0),
    Rtt("fractions of a millisecond count", ring(0.25), 1, 0.125, 0.0),
    Rtt("mean, and standard deviation of the halves", ring(20, 40), 2, 15.0, 5.0),
    Rtt("a ring that has gone round counts whole", ring(*[10] * 32, *[30] * 32), 1000, 10.0, 5.0),
    Rtt("a count that has just filled it", ring(*[10] * 64), 64, 5.0, 0.0),
]


@pytest.mark.parametrize("case", RTTS, ids=lambda case: case.why)
def test_measure_rtt(case: Rtt) -> None:
    found = measure_rtt(case.samples, case.count)
    assert found == Measurement(case.latency_ms, case.pdv_ms)


LIMITS = LinkQuality(
    lat_max_ms=400, pdv_max_ms=20, plr_max=0.01, per_max=0.001,
    lat_weight=0.4, pdv_weight=0.3, plr_weight=0.2, per_weight=0.1,
)  # fmt: skip
E4, E2, E1 = math.exp(-4), math.exp(-2), math.exp(-1)


@dataclass(frozen=True)
class Score:
    why: str
    measured: Measurement
    score: float


SCORES = [
    Score("nothing is known: perfect", Measurement(), 1.0),
    Score("a path without flaws", Measurement(0.0, 0.0, 0.0, 0.0), 1.0),
    Score("everything at its limit", Measurement(400, 20, 0.01, 0.001), E4),
    Score("latency at half its limit", Measurement(latency_ms=200), 0.6 + 0.4 * E2),
    Score("variation at a quarter of its limit", Measurement(pdv_ms=5), 0.7 + 0.3 * E1),
    Score("loss at its limit", Measurement(plr=0.01), 0.8 + 0.2 * E4),
    Score("errors at half their limit", Measurement(per=0.0005), 0.9 + 0.1 * E2),
    Score("far beyond: nothing is left of that part", Measurement(latency_ms=1e9), 0.6),
    Score("all of them far beyond", Measurement(1e9, 1e9, 1.0, 1.0), 0.0),
]


@pytest.mark.parametrize("case", SCORES, ids=lambda case: case.why)
def test_score(case: Score) -> None:
    assert score(case.measured, LIMITS) == pytest.approx(case.score, abs=1e-12)


def test_the_default_limits_weigh_alike() -> None:
    assert score(Measurement(500.0, 100.0, 0.001, 0.0001), LinkQuality()) == pytest.approx(E4)
    assert score(Measurement(latency_ms=500.0), LinkQuality()) == pytest.approx(0.75 + 0.25 * E4)
