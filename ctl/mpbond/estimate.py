"""What each path is like now, out of what the kernel counted on it. Pure.

Once a control period the controller hands over a `Sample`: the counters and rings
of all paths at once, as they lie in the maps. Counters may wrap or begin anew
(another boot of the peer, another path under the number): such a step is taken as
a new beginning, never as a loss.

A path without proof of life for failoverInterval is down, by the kernel's own rule,
and has no values. What comes after is another life: its delays, queues and rates
are looked at for themselves. Its losses and errors go on, as a path that loses so
much that it is down at times is no better for that; but what was sent while it was
down is health's business, not plr's.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mpbond.abi import RTT_SAMPLES
from mpbond.delays import Delays
from mpbond.losses import Losses
from mpbond.rates import RATE_MAX_NS, Rates
from mpbond.rows import Bools, Floats, Ints, Rows, fresh_record
from mpbond.samples import JUMP, Estimate, Estimates, Sample

_STATE = np.dtype(
    [
        ("seen", "?"),
        ("silent", "?"),
        ("filled", "<i8"),  # entries of the rings that are of this life
        ("rtt_count", "<u4"),
        ("answered_at_ns", "<u8"),
    ]
)


class PathEstimator(Rows):
    """`follow` the paths, then `update` once a period; `of` is one path's listing."""

    def __init__(self) -> None:
        self._delays, self._losses, self._rates = Delays(), Losses(), Rates()
        self._parts = (self._delays, self._losses, self._rates)
        self._latest: Estimates | None = None
        super().__init__(fresh_record(_STATE))

    def of(self, path: int) -> Estimate:
        """By path index, as of the last update; nothing is known before the first."""
        return self._latest.at(self.row(path)) if self._latest else Estimate()

    @property
    def latest(self) -> Estimates:
        """Of the last update; there must have been one."""
        assert self._latest is not None
        return self._latest

    def follow(self, paths: npt.ArrayLike) -> None:
        super().follow(paths)
        for part in self._parts:
            part.follow(paths)
        self._latest = None

    def renew(self, rows: Bools) -> None:
        super().renew(rows)
        for part in self._parts:
            part.renew(rows)

    def update(self, sample: Sample) -> Estimates:
        """Takes in one reading of the paths followed; `now_ns` must not go back."""
        answered, counting = self._live_and_die(sample)
        self._delays.update(sample, self.state["filled"], answered)
        self._losses.update(sample, counting, answered)
        self._rates.update(sample)
        self._latest = self._estimates()
        return self._latest

    def _live_and_die(self, sample: Sample) -> tuple[Bools, Bools]:
        """New answers and silence. Returns who has answers not looked at yet, and whose
        counters go on from the last reading."""
        state = self.state
        answers = (sample.rtt_count - state["rtt_count"]).astype(np.int64)
        begun = ~state["seen"] | (answers >= JUMP)
        self.renew(begun & state["seen"])
        silent = (sample.silence_ns > sample.failover_ns) | (~begun & self._peer_began_anew(sample))
        counting = ~(begun | silent | state["silent"])
        self._delays.renew(silent)
        self._rates.renew(silent)
        # Of a path that begins the ring is taken as it stands, all of it is its own.
        filled = np.where(begun, sample.rtt_count, state["filled"] + answers)
        state["filled"] = np.where(silent, 0, np.minimum(filled, RTT_SAMPLES))
        state["seen"], state["silent"] = True, silent
        state["rtt_count"], state["answered_at_ns"] = sample.rtt_count, sample.answered_at_ns
        return (state["filled"] > 0) & (begun | (answers > 0)), counting

    def _peer_began_anew(self, sample: Sample) -> Bools:
        """Its stamps are not those of before: the rings have two clocks in them."""
        since = self.state["answered_at_ns"]
        apart_ns = np.abs((sample.answered_at_ns - since).view(np.int64))
        anew: Bools = (since != 0) & (sample.answered_at_ns != 0) & (apart_ns > RATE_MAX_NS)
        return anew

    def _estimates(self) -> Estimates:
        delays, losses, rates = self._delays, self._losses, self._rates
        silent: Bools = self.state["filled"] == 0

        def known(figures: Floats) -> Floats:
            return np.where(silent, np.nan, figures)

        sent_bps = rates.sent_bps
        figure_ns: Ints = rates.figure_ns
        return Estimates(
            latency_ms=known(delays.rtt_ns / 2e6),
            pdv_ms=known(delays.rtt_std_ns / 2e6),
            plr=known(losses.plr),
            per=known(losses.per),
            plr_least=known(losses.plr_least),
            per_least=known(losses.per_least),
            delivered_bps=known(rates.delivered_bps),
            sent_bps=sent_bps,
            figure_ns=figure_ns,
            queue_ms=known(delays.queue_ns(sent_bps) / 1e6),
            silent=silent,
        )
