"""Path measurements and the score made of them. Pure: samples in, numbers out.

semantics: x = exp(-4 value/max) for each of the four; quality is their weighted
sum. What is not measured yet is None and counts as perfect, so that a fresh path
is judged by what is known of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mpbond.config.model import LinkQuality


@dataclass(frozen=True, slots=True)
class Measurement:
    """Latency (RTT/2) and its standard deviation in ms; loss and error as ratios."""

    latency_ms: float | None = None
    pdv_ms: float | None = None
    plr: float | None = None
    per: float | None = None


def measure_rtt(samples_ns: np.ndarray, count: int) -> Measurement:
    """From the ring of the last round trips; `count` = samples ever taken."""
    taken = samples_ns[: min(count, len(samples_ns))].astype(np.float64) / 2e6
    if len(taken) == 0:
        return Measurement()
    return Measurement(latency_ms=float(taken.mean()), pdv_ms=float(taken.std()))


def score(measured: Measurement, limits: LinkQuality) -> float:
    """0..1, 1 for a path without delay, variance, loss or errors."""
    parts = (
        (measured.latency_ms, limits.lat_max_ms, limits.lat_weight),
        (measured.pdv_ms, limits.pdv_max_ms, limits.pdv_weight),
        (measured.plr, limits.plr_max, limits.plr_weight),
        (measured.per, limits.per_max, limits.per_weight),
    )
    return sum(weight * math.exp(-4.0 * (value or 0.0) / limit) for value, limit, weight in parts)
