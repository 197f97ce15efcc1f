"""Which paths are kept off for their quality, and when they are taken back. Pure.

A path over any limit of its policy's linkQuality is avoided. It is taken back when
it was inside INSIDE of all its limits for PERIODS control periods in a row. That
alone would swing where a path stands at its limit, so it takes longer for a path
  - that was over by little all the time: EDGE_NS, for it did not recover, it varies;
  - that was taken back within the last minute: AGAIN_NS.
So whatever a path does, flows leave it twice in the first minute at most, and once
a minute from then on.

Where all paths that could carry are avoided, the least bad of them are used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mpbond.groups import Groups
from mpbond.rows import Bools, Floats, Ints, Rows, fresh_record

# The limits in the order of columns, by their keys without `_max`.
LIMITS = ("lat", "pdv", "plr", "per")
INSIDE = 0.8
PERIODS = 2
SECOND_NS = 1_000_000_000
EDGE = 1.25
EDGE_NS = 8 * SECOND_NS
AGAIN_NS = 60 * SECOND_NS
CALM_NS = 60 * SECOND_NS
# With all paths over their limits: those that are not more than so many times as far
# over as the least bad one, and so many times once they are in use.
AS_GOOD = 2.0
AS_GOOD_STILL = 4.0

_STATE = np.dtype(
    [
        ("avoided", "?"),
        ("needed", "?"),
        ("again", "?"),
        ("since_ns", "<i8"),
        ("back_ns", "<i8"),  # when it was taken back last; 0 = never
        ("cause", "<i8"),
        ("worst", "<f8"),  # the most that it was over since it is avoided
        ("inside", "<i8"),  # periods in a row
        ("inside_ns", "<i8"),  # since when
    ]
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """(n,) arrays. `excess`: how many times its limit the worst of the four is, 1.0 =
    at the limit, 0 where nothing is known; `cause`: which of LIMITS that is, and for an
    avoided path the one that it was avoided for. `newly`, `back`: what has changed."""

    avoided: Bools
    newly: Bools
    back: Bools
    excess: Floats
    cause: Ints


class Avoidance(Rows):
    """`follow` the paths, `update` once a control period, `kept_off` after it."""

    def __init__(self) -> None:
        super().__init__(fresh_record(_STATE))

    def update(self, now_ns: int, values: Floats, limits: Floats) -> Verdict:
        """`values`, `limits`: (n, 4) in the order of LIMITS; NaN where nothing is known,
        which is never over. A limit of infinity never holds."""
        state = self.state
        over = values / limits
        excess = np.fmax.reduce(over, axis=1, initial=0.0)
        avoided = state["avoided"].copy()
        newly = ~avoided & (excess > 1.0)
        self._avoid(newly, now_ns)
        state["cause"][newly] = np.nan_to_num(over[newly]).argmax(axis=1)
        np.fmax(state["worst"], excess, out=state["worst"], where=state["avoided"])

        # Without a latency nothing has come back yet that would show a recovery.
        inside = (excess <= INSIDE) & ~np.isnan(values[:, 0])
        begun = inside & (state["inside"] == 0)
        state["inside_ns"][begun] = now_ns
        state["inside"] = np.where(inside, state["inside"] + 1, 0)
        back = avoided & (state["inside"] >= PERIODS) & (self.wait_ns(now_ns) == 0)
        state["avoided"][back], state["back_ns"][back] = False, now_ns
        return Verdict(state["avoided"].copy(), newly, back, excess, state["cause"].copy())

    def _avoid(self, rows: Bools, now_ns: int) -> None:
        state = self.state
        calm = (state["back_ns"] == 0) | (now_ns - state["back_ns"] >= CALM_NS)
        state["again"][rows] = ~calm[rows]
        state["avoided"][rows], state["since_ns"][rows], state["worst"][rows] = True, now_ns, 0.0

    def wait_ns(self, now_ns: int) -> Ints:
        """(n,) how much longer each path has to stay inside its limits; 0 for one that
        is not avoided."""
        state = self.state
        edge = state["worst"] < EDGE
        need_ns = np.where(state["again"], AGAIN_NS, np.where(edge, EDGE_NS, 0))
        served_ns = np.where(state["inside"] > 0, now_ns - state["inside_ns"], 0)
        wait_ns: Ints = np.where(state["avoided"], np.maximum(need_ns - served_ns, 0), 0)
        return wait_ns

    def kept_off(self, verdict: Verdict, candidates: Bools, bonds: Groups) -> Bools:
        """(n,) the avoided paths less those that have to serve all the same: in a bond
        all of whose `candidates` are avoided, the least bad ones. Who waits out its
        time counts as at its limit, or a bond would run from one path to the other."""
        state = self.state
        willing = bonds.any(candidates & ~verdict.avoided)
        at_bay = candidates & ~willing[bonds.of]
        excess = np.where(at_bay, np.maximum(verdict.excess, 1.0), np.inf)
        least = bonds.min(excess)[bonds.of]
        factor = np.where(state["needed"], AS_GOOD_STILL, AS_GOOD)
        state["needed"] = at_bay & (excess <= least * factor)
        off: Bools = verdict.avoided & ~state["needed"]
        return off
