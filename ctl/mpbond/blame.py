"""Which losses are a link's own fault, and which come of its being full. Pure.

TCP fills what it is given and finds the end by losing packets: drop by drop that is
more than most limits of linkQuality allow, and as it starts far more. So what is lost
while a queue stands is not held against a link; nor what may be left of it in the
estimate for a while, which looks back up to a minute.
"""

from __future__ import annotations

import numpy as np

from mpbond.rows import Bools, Floats, Ints, Rows, fresh_record

SECOND_NS = 1_000_000_000
# A loss counts that has lasted: until then it may show to be congestion.
PATIENCE_NS = 2 * SECOND_NS
# On a link that was full in the last minute TCP alone makes so much, at least.
CONGESTION_LOSS = 0.05
MEMORY_NS = 60 * SECOND_NS
# How fast the loss that was seen while a queue stood is forgotten: to a half.
HALF_LIFE_S = 30.0

_STATE = np.dtype([("excused", "<f8"), ("blamed_ns", "<i8")])


class Blame(Rows):
    """`follow` the paths, `fault` once a control period."""

    def __init__(self) -> None:
        super().__init__(fresh_record(_STATE))
        self._now_ns: int | None = None

    def fault(self, now_ns: int, loss: Floats, queueing: Bools, filled_ns: Ints) -> Floats:
        """(n,) what of each path's `loss` (n,) counts. `queueing`: a queue stands there now;
        `filled_ns`: when it was full last, 0 = never."""
        state = self.state
        passed_s = 0.0 if self._now_ns is None else (now_ns - self._now_ns) / SECOND_NS
        self._now_ns = now_ns
        lost = np.nan_to_num(loss)
        state["excused"] *= 0.5 ** (passed_s / HALF_LIFE_S)
        state["excused"] = np.where(queueing, np.maximum(state["excused"], lost), state["excused"])
        lately = (filled_ns > 0) & (now_ns - filled_ns < MEMORY_NS)
        allowed = np.maximum(state["excused"], np.where(lately, CONGESTION_LOSS, 0.0))
        blamed = ~queueing & (lost > allowed)
        since_ns = np.where(state["blamed_ns"] > 0, state["blamed_ns"], now_ns)
        state["blamed_ns"] = np.where(blamed, since_ns, 0)
        counts = blamed & (now_ns - since_ns >= PATIENCE_NS)
        return np.where(counts, loss, 0.0)
