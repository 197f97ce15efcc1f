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

from mpbond.rows import Floats, Ints

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
    it is at least, at three sigmas, NaN alike."""

    value: Floats
    least: Floats


def ratios(bad: Ints, every: Ints, doubt: Floats) -> Ratios:
    """The ratio over the longest window within which the rate has not changed.

    `bad`, `every`: counts (7, ...) over WINDOWS, shortest first. `doubt` (...): by how
    much `bad` may be wrong; it may be below 0.
    """
    lower, upper = np.zeros(doubt.shape), np.full(doubt.shape, np.inf)
    longer = np.ones(doubt.shape, bool)
    lost, total = np.zeros(doubt.shape), np.zeros(doubt.shape)
    for of_window, out_of in zip(bad.astype(np.float64), every.astype(np.float64), strict=True):
        seen = np.maximum(of_window, 0.0)
        least = at_least(np.maximum(seen - doubt, 0.0), CHANGE_SIGMAS)
        most = np.where(out_of > 0, at_most(seen + doubt, CHANGE_SIGMAS), np.inf)
        size = np.maximum(out_of, 1.0)
        lower, upper = np.maximum(lower, least / size), np.minimum(upper, most / size)
        longer &= lower <= upper
        lost, total = np.where(longer, seen, lost), np.where(longer, out_of, total)
    known, size = total > 0, np.maximum(total, 1.0)
    proven = at_least(np.maximum(lost - doubt, 0.0), PROOF_SIGMAS)
    return Ratios(
        np.where(known, np.minimum(lost / size, 1.0), np.nan),
        np.where(known, np.minimum(proven / size, 1.0), np.nan),
    )
