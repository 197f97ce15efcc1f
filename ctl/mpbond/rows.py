"""Many paths at once: a row of a structured array each. Pure.

What has to be remembered of thousands of paths from one control period to the
next lies in arrays, so that a period costs a few hundred numpy calls however
many paths there are. `Rows` keeps rows and paths together when paths come and go.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Array = npt.NDArray[Any]


class Rows:
    """`paths`: (n,) indices of the path map, in row order; `state`: (n,) records.

    Everything that is handed to or comes from a subclass's `update` has a row per
    path in this order. A path seen for the first time starts as `fresh`. What is
    looked at one plane at a time lies in `wide`: arrays (..., n), rows last.
    """

    def __init__(self, fresh: Array, **wide: Array) -> None:
        """`fresh`: one record, shape (); `wide`: what a fresh path has of each, (...)."""
        self._fresh = fresh
        self._fresh_wide = wide
        self.paths: Ints = np.zeros(0, np.int64)
        self._order: Ints = self.paths
        self.state: Array = fresh.reshape(1)[:0]
        self.wide: dict[str, Array] = {}
        self.follow(())

    def follow(self, paths: npt.ArrayLike) -> None:
        """From now on the rows are these path indices, (n,), each once. Whoever was
        there before keeps what is known of it; call `forget` for an index that now
        means another path."""
        wanted = np.asarray(paths, np.int64).reshape(-1)
        order = np.argsort(wanted, kind="stable")
        if (np.diff(wanted[order]) == 0).any():
            raise ValueError("a path is listed twice")
        state = np.repeat(self._fresh.reshape(1), len(wanted))
        wide = {
            name: np.repeat(fresh[..., np.newaxis], len(wanted), axis=-1)
            for name, fresh in self._fresh_wide.items()
        }
        _, now, before = np.intersect1d(wanted, self.paths, assume_unique=True, return_indices=True)
        if len(now):
            state[now] = self.state[before]
            for name, planes in wide.items():
                planes[..., now] = self.wide[name][..., before]
        self.paths, self._order = wanted, order
        self.state, self.wide = state, wide

    def forget(self, paths: npt.ArrayLike) -> None:
        """Nothing is known any more of these path indices; those not followed are passed over."""
        self.renew(np.isin(self.paths, np.asarray(paths, np.int64)))

    def renew(self, rows: Bools) -> None:
        """These rows, (n,), start anew."""
        if rows.any():
            self.state[rows] = self._fresh
            for name, fresh in self._fresh_wide.items():
                self.wide[name][..., rows] = fresh[..., np.newaxis]

    def row(self, path: int) -> int:
        """Where a followed path's figures stand; KeyError for any other."""
        at = int(np.searchsorted(self.paths, path, sorter=self._order))
        if at < len(self._order) and self.paths[self._order[at]] == path:
            return int(self._order[at])
        raise KeyError(path)


def fresh_record(dtype: np.dtype[Any], **values: Any) -> Array:
    """One record, shape (): zeros but for what is given."""
    record = np.zeros((), dtype)
    for name, value in values.items():
        record[name] = value
    return record
