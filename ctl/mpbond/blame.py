"""Which losses are a link's own fault, and which come of its being full. Pure.

TCP fills what it is given and finds the end by losing packets: drop by drop that is
more than most limits of linkQuality allow, and as it starts far more. So what is lost
while a queue stands is not held against a link; nor what may be left of it in the
estimate for a while, which looks back up to a minute. Nor is an outage, which is
health's business: it is one loss, however many packets it took.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mpbond.rows import Bools, Floats, Ints, Rows, fresh_record

SECOND_NS = 1_000_000_000
# A loss counts that has lasted: until then it may show to be congestion.
PATIENCE_NS = 2 * SECOND_NS
# On a link that was full in the last minute TCP alone makes so much, at least.
CONGESTION_LOSS = 0.05
MEMORY_NS = 60 * SECOND_NS
# How fast the loss that was seen while a queue stood is forgotten: to a half.
HALF_LIFE_S = 30.0

# So many times something must have been lost within MEMORY_NS.
TIMES = 3

_STATE = np.dtype(
    [
        ("excused", "<f8"),
        ("blamed_ns", "<i8"),
        ("lost", "<u4"),
        ("seen", "?"),
        ("lost_ns", "<i8", TIMES),  # when something was found lost, latest first; 0 = never
    ]
)


class Blame(Rows):
    """`follow` the paths, `fault` once a control period."""

    def __init__(self) -> None:
        super().__init__(fresh_record(_STATE))
        self._now_ns: int | None = None

    def fault(
        self,
        now_ns: int,
        loss: Floats,
        lost: npt.NDArray[np.uint32],
        queueing: Bools,
        filled_ns: Ints,
    ) -> Floats:
        """(n,) what of each path's `loss` (n,) counts. `lost`: packets lost so far, by a
        counter that wraps; `queueing`: a queue stands there now; `filled_ns`: when it was
        full last, 0 = never."""
        state = self.state
        often = self._often(now_ns, lost)
        passed_s = 0.0 if self._now_ns is None else (now_ns - self._now_ns) / SECOND_NS
        self._now_ns = now_ns
        share = np.nan_to_num(loss)
        state["excused"] *= 0.5 ** (passed_s / HALF_LIFE_S)
        state["excused"] = np.where(queueing, np.maximum(state["excused"], share), state["excused"])
        lately = (filled_ns > 0) & (now_ns - filled_ns < MEMORY_NS)
        allowed = np.maximum(state["excused"], np.where(lately, CONGESTION_LOSS, 0.0))
        blamed = ~queueing & often & (share > allowed)
        since_ns = np.where(state["blamed_ns"] > 0, state["blamed_ns"], now_ns)
        state["blamed_ns"] = np.where(blamed, since_ns, 0)
        counts = blamed & (now_ns - since_ns >= PATIENCE_NS)
        return np.where(counts, loss, 0.0)

    def _often(self, now_ns: int, lost: npt.NDArray[np.uint32]) -> Bools:
        """Who has lost something on several occasions."""
        state = self.state
        more = state["seen"] & ((lost - state["lost"]).view(np.int32) > 0)
        state["lost_ns"][more, 1:] = state["lost_ns"][more, :-1]
        state["lost_ns"][more, 0] = now_ns
        state["lost"], state["seen"] = lost, True
        earliest = state["lost_ns"][:, -1]
        found: Bools = (earliest > 0) & (now_ns - earliest < MEMORY_NS)
        return found
