"""Rows that belong together, paths of a bond for one: sums and extremes of each group. Pure.

A few numpy calls for all groups at once, however many there are.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mpbond.rows import Bools, Floats, Ints


class Groups:
    """`of`: (n,) which group a row is in, 0..count-1; `keys`: (count,) what the groups
    are called, ascending. Every group has a row at least."""

    def __init__(self, keys: npt.ArrayLike) -> None:
        """`keys`: (n,) integers, equal for rows of one group."""
        every = np.asarray(keys, np.int64).reshape(-1)
        self.keys: Ints
        self.of: Ints
        self.keys, self.of = np.unique(every, return_inverse=True)
        self.count = len(self.keys)
        self._order = np.argsort(self.of, kind="stable")
        self._starts = np.searchsorted(self.of[self._order], np.arange(self.count))

    def sum(self, figures: npt.ArrayLike) -> Floats:
        """(n,) -> (count,)"""
        found: Floats = np.bincount(self.of, np.asarray(figures, np.float64), self.count).astype(np.float64)
        return found

    def any(self, which: Bools) -> Bools:
        """(n,) -> (count,)"""
        found: Bools = np.bincount(self.of[which], minlength=self.count) > 0
        return found

    def max(self, figures: Floats) -> Floats:
        """(n,) -> (count,); NaN only where a group has nothing else."""
        if not self.count:
            return np.zeros(0)
        found: Floats = np.fmax.reduceat(figures[self._order], self._starts)
        return found

    def min(self, figures: Floats) -> Floats:
        """(n,) -> (count,); NaN only where a group has nothing else."""
        return -self.max(-figures)

    def rows(self, group: int) -> Ints:
        """The rows of one group, ascending."""
        start = self._starts[group]
        end = self._starts[group + 1] if group + 1 < self.count else len(self._order)
        found: Ints = self._order[start:end]
        return found
