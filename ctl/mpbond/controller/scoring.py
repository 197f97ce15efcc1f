"""Health scores of all paths, once a control period; who they were is told for keeping."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mpbond.config.model import LinkQuality
from mpbond.controller.bond import BondState
from mpbond.healthscore import TrackRecord, health_scores
from mpbond.layout import PathKey
from mpbond.quality import limits_of, scores
from mpbond.rows import Bools
from mpbond.samples import Estimates


class Scoring:
    """`follow` the bonds, `update` each period. `minute_passed`: by the last update, so
    what `text` says is another."""

    def __init__(self, kept: Mapping[str, str]) -> None:
        self._record = TrackRecord(kept)
        self._limits = limits_of(())
        self._scores = np.zeros(0)
        self.minute_passed = False

    def follow(self, bonds: Mapping[int, BondState]) -> None:
        self._record.follow_named(
            {
                state.index_of(path): name_of(state.spec.peer.id, path.key)
                for state in bonds.values()
                for path in state.spec.paths
            }
        )
        count = len(self._record.paths)
        self._limits = limits_of([LinkQuality()] * count)
        self._scores = np.full(count, np.nan)

    def update(self, now_ns: int, estimates: Estimates, alive: Bools) -> None:
        """`alive`: who may carry now, in the order of the path indices."""
        self.minute_passed = self._record.observe(now_ns, alive)
        quality = np.where(estimates.silent, np.nan, scores(estimates.least, self._limits))
        self._scores = health_scores(quality, self._record.success)

    def of(self, index: int) -> float | None:
        """0..100; None for a silent path."""
        score = float(self._scores[self._record.row(index)])
        return None if np.isnan(score) else score

    def text(self) -> dict[str, str]:
        return self._record.text()


def name_of(peer: str, key: PathKey) -> str:
    """A path as it is called in the file: the same after another start."""
    return f"{peer} {key.ifname} {key.local} {key.remote} {key.port}"
