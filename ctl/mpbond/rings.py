"""The kernel's rings of the last 64 probes of a path, many paths at once. Pure.

Entry `count` mod 64 is the one that is written next; which of the others belong to
the path's present life is known to who counts its answers.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mpbond.abi import RTT_SAMPLES
from mpbond.rows import Array, Bools, Floats, Ints

# The most probes that are looked at for what the delay is now.
RECENT = 8


class Rings:
    """Which entries of some rows' rings count: the newest `filled` (c,), and of those the
    newest `recent` (c,)."""

    def __init__(self, count: npt.NDArray[np.uint32], filled: Ints, recent: Ints) -> None:
        head = (count % RTT_SAMPLES).astype(np.int64)[:, np.newaxis]
        self._filled = filled
        self._late = (head - 1 - np.arange(RECENT)) % RTT_SAMPLES
        self._not_recent = np.arange(RECENT) >= np.minimum(filled, recent)[:, np.newaxis]
        self._stale: Bools | None = None
        if filled.size and filled.min() < RTT_SAMPLES:
            age = (head - 1 - np.arange(RTT_SAMPLES)) % RTT_SAMPLES
            self._stale = age >= filled[:, np.newaxis]

    def newest(self, figures: Array) -> Array:
        """(c, 64) -> (c,)"""
        newest: Array = figures[np.arange(len(figures)), self._late[:, 0]]
        return newest

    def mean_and_std(self, figures: Floats) -> tuple[Floats, Floats]:
        """(c, 64) -> (c,) each."""
        newest = self.newest(figures)
        apart = figures - newest[:, np.newaxis]
        if self._stale is not None:
            apart[self._stale] = 0.0
        mean = apart.sum(axis=1) / self._filled
        variance = np.einsum("ij,ij->i", apart, apart) / self._filled - mean * mean
        return newest + mean, np.sqrt(np.maximum(variance, 0.0))

    def least_recent(self, figures: Floats) -> Floats:
        """(c, 64) -> (c,)"""
        late = np.take_along_axis(figures, self._late, axis=1)
        late[self._not_recent] = np.inf
        least: Floats = late.min(axis=1)
        return least
