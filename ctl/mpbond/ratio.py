"""How often something went wrong lately: quick where it changes, exact where it stays. Pure.

A long window is exact but slow, a short one quick but coarse. So each count is
looked at over seven windows, 1 to 60 s, each with the interval in which the true
rate lies (Poisson, three standard deviations). From the shortest on, a window is
lengthened for as long as all intervals so far have a value in common: as long,
that is, as nothing shows that the rate has changed within it (the intersection of
confidence intervals, Goldenshluger and Nemirovski 1997). With 8 probes a second
and no data, 20% loss shows within 4 s; 1% of 50 packets a second is known to a
fifth of its value after 60 s; and a fault that has passed is forgotten as soon
as the evidence allows, not after a minute.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mpbond.rows import Floats, Ints

# Steps of a second back from the current one; the ring holds a power of two of them.
WINDOWS = np.array([1, 2, 4, 8, 16, 32, 60])
STEPS = 64
SIGMAS = 3.0


def at_least(count: Floats) -> Floats:
    """What the expectation is no less than where `count` was seen, at three sigmas.

    Wilson and Hilferty's approximation to the exact Poisson bound. Any shape. One
    event proves nothing (0), three prove 0.17, a hundred prove 72.
    """
    seen = np.maximum(count, 1.0)
    root = 1.0 - 1.0 / (9.0 * seen) - SIGMAS / (3.0 * np.sqrt(seen))
    root = np.maximum(root, 0.0)
    return np.where(count >= 1.0, seen * root * root * root, 0.0)


def at_most(count: Floats) -> Floats:
    """What the expectation is no more than where `count` was seen; 6.7 for 0. Any shape."""
    seen = count + 1.0
    root = 1.0 - 1.0 / (9.0 * seen) + SIGMAS / (3.0 * np.sqrt(seen))
    bound: Floats = seen * root * root * root
    return bound


@dataclass(frozen=True, slots=True)
class Ratios:
    """`value`: bad over all, 0..1, NaN where there was nothing to count; `least`: what
    it is at least, at three sigmas, NaN alike. (n, m)."""

    value: Floats
    least: Floats


def ratios(bad: Ints, every: Ints) -> Ratios:
    """Of counts (n, 7, m), m kinds over WINDOWS, shortest first: (n, m), the ratio over the
    longest window within which the rate has not changed. `bad` may be a little out,
    below 0 even, as packets pass one another."""
    lost = np.maximum(bad, 0).astype(np.float64)
    total = np.maximum(every, 1).astype(np.float64)
    lower = at_least(lost) / total
    upper = np.where(every > 0, at_most(lost) / total, np.inf)
    in_common = np.maximum.accumulate(lower, axis=1) <= np.minimum.accumulate(upper, axis=1)
    longest = in_common.sum(axis=1, keepdims=True) - 1

    def chosen(figures: Floats) -> Floats:
        found = np.minimum(np.take_along_axis(figures, longest, axis=1)[:, 0], 1.0)
        return np.where(counted, found, np.nan)

    counted = np.take_along_axis(every, longest, axis=1)[:, 0] > 0
    return Ratios(chosen(lost / total), chosen(lower))
