"""How often something went wrong lately: quick where it changes, exact where it stays. Pure.

A long window is exact but slow, a short one quick but coarse. So each count is
looked at over seven windows, 1 to 60 s, each with the interval in which the true
rate lies (Poisson, two standard deviations). From the shortest on, a window is
lengthened for as long as all intervals so far have a value in common: as long,
that is, as nothing shows that the rate has changed within it (the intersection of
confidence intervals, Goldenshluger and Nemirovski 1997). tests/unit/test_losses.py
says what that comes to: with 1,000 packets a second 20% loss is told after 2 s, with
8 probes a second after half a minute; 1% of 50 packets a second is known to two
fifths of its value, of 1,000 to a tenth; and a fault that has passed is forgotten
as soon as the evidence allows, not after a minute.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mpbond.rows import Array, Floats, Ints

# Seconds back from the current one; the ring holds a power of two of them.
WINDOWS = np.array([1, 2, 4, 8, 16, 32, 60])
STEPS = 64
# For two windows to differ both must be so far from what they have in common; three
# would double the time until 20% of a few probes are told and steady no rate.
CHANGE_SIGMAS = 2.0
# For what a rate is at least.
PROOF_SIGMAS = 3.0


def at_least(count: Floats, sigmas: float) -> Floats:
    """What the expectation is no less than where `count` was seen. Any shape.

    Wilson and Hilferty's approximation to the exact Poisson bound. At three sigmas one
    event proves nothing (0), three prove 0.17, a hundred prove 72.
    """
    seen = np.maximum(count, 1.0)
    root = 1.0 - 1.0 / (9.0 * seen) - sigmas / (3.0 * np.sqrt(seen))
    root = np.maximum(root, 0.0)
    return np.where(count >= 1.0, seen * root * root * root, 0.0)


def at_most(count: Floats, sigmas: float) -> Floats:
    """What the expectation is no more than where `count` was seen; 3.6 for 0 at two
    sigmas. Any shape."""
    seen = count + 1.0
    root = 1.0 - 1.0 / (9.0 * seen) + sigmas / (3.0 * np.sqrt(seen))
    bound: Floats = seen * root * root * root
    return bound


@dataclass(frozen=True, slots=True)
class Ratios:
    """`value`: bad over all, 0..1, NaN where there was nothing to count; `least`: what
    it is at least, at three sigmas, NaN alike. (n, m)."""

    value: Floats
    least: Floats


def ratios(bad: Ints, every: Ints, doubt: Floats) -> Ratios:
    """Of counts (n, 7, m), m kinds over WINDOWS, shortest first: (n, m), the ratio over the
    longest window within which the rate has not changed. `doubt` (n, m): by how much
    `bad` may be wrong; it may be below 0."""
    lost = np.maximum(bad, 0).astype(np.float64)
    total = np.maximum(every, 1).astype(np.float64)
    unsure = doubt[:, np.newaxis]
    surely = np.maximum(lost - unsure, 0.0)
    lower = at_least(surely, CHANGE_SIGMAS) / total
    upper = np.where(every > 0, at_most(lost + unsure, CHANGE_SIGMAS) / total, np.inf)
    in_common = np.maximum.accumulate(lower, axis=1) <= np.minimum.accumulate(upper, axis=1)
    longest = in_common.sum(axis=1, keepdims=True) - 1

    def chosen(figures: Array) -> Array:
        figure: Array = np.take_along_axis(figures, longest, axis=1)[:, 0]
        return figure

    known, count = chosen(every) > 0, chosen(total)
    value = np.where(known, np.minimum(chosen(lost) / count, 1.0), np.nan)
    least = np.where(known, np.minimum(at_least(chosen(surely), PROOF_SIGMAS) / count, 1.0), np.nan)
    return Ratios(value, least)
