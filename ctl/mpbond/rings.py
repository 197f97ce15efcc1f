"""The kernel's rings of the last 64 probes of a path, many paths at once. Pure.

Entry `count` mod 64 is the one that is written next; which of the others belong to
the path's present life is known to who counts its answers.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mpbond.abi import RTT_SAMPLES
from mpbond.rows import Array, Floats, Ints

# The most probes that are looked at for what the delay is now.
RECENT = 8
# A remainder by it is a mask, which is many times faster.
assert RTT_SAMPLES & (RTT_SAMPLES - 1) == 0
_PLACE = RTT_SAMPLES - 1


def late(count: npt.NDArray[np.uint32]) -> Ints:
    """(n,) -> (8, n): where the newest entries stand, newest first."""
    places: Ints = (count.astype(np.int64) - 1 - np.arange(RECENT)[:, np.newaxis]) & _PLACE
    return places


def mean_and_std(
    ring: npt.NDArray[np.uint32], count: npt.NDArray[np.uint32], filled: Ints
) -> tuple[Floats, Floats]:
    """Of the newest `filled` (n,) entries, one at least, of each ring (n, 64): (n,) each."""
    head = count.astype(np.int64)[:, np.newaxis] - 1
    newest = np.take_along_axis(ring, head & _PLACE, axis=1).astype(np.float64)
    # From there on, as squares of the whole would leave nothing of a small variation.
    apart = ring - newest
    if filled.size and filled.min() < RTT_SAMPLES:
        apart[(head - np.arange(RTT_SAMPLES)) & _PLACE >= filled[:, np.newaxis]] = 0.0
    mean = apart.sum(axis=1) / filled
    variance = np.einsum("ij,ij->i", apart, apart) / filled - mean * mean
    return newest[:, 0] + mean, np.sqrt(np.maximum(variance, 0.0))


def least(figures: Array, wanted: Ints) -> Floats:
    """Of the first `wanted` (n,), one at least, of (8, n): (n,)."""
    found: Floats = figures[0].astype(np.float64)
    for age in range(1, RECENT):
        found = np.where(age < wanted, np.minimum(found, figures[age]), found)
    return found
