"""What goes into the estimator and what comes out of it: plain frozen arrays. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mpbond.rows import Bools, Floats, Ints

SECOND_NS = 1_000_000_000
# A wrapping counter that moved by more than this between two readings began anew.
JUMP = 1 << 28


@dataclass(frozen=True, slots=True)
class Sample:
    """What the kernel counted, a row per path in the estimator's order (n rows).

    Cumulative counters, unsigned, 32-bit ones wrapping; times in ns. The source is
    `path_live` where nothing else is said.
    """

    now_ns: int
    """When this was read; CLOCK_MONOTONIC, as is all of ours."""
    failover_ns: Ints
    """(n,) the path's failoverInterval."""
    probe_interval_ns: Ints
    """(n,) what lies between two probes of it."""
    silence_ns: Ints
    """(n,) how long the path has had no proof of life, on its bond's clock: that stands
    still while nobody probes, so a stalled controller finds no path silent."""
    rtt_ns: npt.NDArray[np.uint32]
    """(n, 64) the last round trips; the newest stands before `rtt_count` mod 64."""
    rtt_count: npt.NDArray[np.uint32]
    """(n,) samples ever put into the rings."""
    forward_ns: npt.NDArray[np.uint64]
    """(8, n) the peer's stamp less ours of the last probes, the newest first
    (`rings.late`), modulo 2^64: the offset of the clocks is unknown."""
    probe_highest: npt.NDArray[np.uint32]
    """(n,) `answered_highest`, the number of the newest answered probe: not how many
    were sent, for those still under way are not lost."""
    probes_answered: npt.NDArray[np.uint64]
    """(n,)"""
    sent_packets: npt.NDArray[np.uint32]
    """(n,) `paired_sent`: data packets sent on the path when the newest answered probe
    left."""
    received_packets: npt.NDArray[np.uint32]
    """(n,) `paired_received`: how many of them the peer had when it answered."""
    answered_at_ns: npt.NDArray[np.uint64]
    """(n,) `answer_stamp`: when that was, by the peer's clock; only differences count."""
    passed_packets: npt.NDArray[np.uint64]
    """(n,) `checked`: probes and answers that came in on the path and passed their check."""
    failed_packets: npt.NDArray[np.uint64]
    """(n,) `failed`: those that did not."""
    tx_packets: npt.NDArray[np.uint64]
    """(n,) data packets sent on the path up to now (`path_stats`, summed over CPUs)."""
    tx_bytes: npt.NDArray[np.uint64]
    """(n,) their bytes."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """One path, for listings; None where nothing is known.

    Delays in ms, ratios 0..1, rates in bit/s. Meanings as in `Estimates`.
    """

    latency_ms: float | None = None
    pdv_ms: float | None = None
    plr: float | None = None
    per: float | None = None
    delivered_bps: float | None = None
    sent_bps: float | None = None
    queue_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Estimates:
    """All paths: (n,) arrays of float64, NaN where nothing is known.

    latency_ms, pdv_ms: mean and standard deviation of the last 64 half round trips.
    plr: packets lost of all sent, 0..1: data on their way to the peer, and probes, lost
    if they or their answers are. So with data it is the loss of the way there, by
    probes alone that of there and back together.
    per: packets damaged of all that came in, 0..1, by probes and answers.
    *_least: what plr and per are at least, at three sigmas.
    delivered_bps, sent_bps: data, in bit/s, over the last half second or more;
    figure_ns (int64): when the figure of delivered_bps ends, another for each new one.
    queue_ms: how much longer than at its best, in the last two minutes, a packet takes
    to the peer now, by the least of the last probes (about a second's): the standing
    queue; jitter without any looks like one of about twice its standard deviation.
    silent (bool): nothing is known, or it was longer ago than failoverInterval.
    """

    latency_ms: Floats
    pdv_ms: Floats
    plr: Floats
    per: Floats
    plr_least: Floats
    per_least: Floats
    delivered_bps: Floats
    sent_bps: Floats
    figure_ns: Ints
    queue_ms: Floats
    silent: Bools

    @property
    def values(self) -> Floats:
        """(n, 4): latency, pdv, plr, per, as quality.scores takes them."""
        return np.column_stack((self.latency_ms, self.pdv_ms, self.plr, self.per))

    @property
    def least(self) -> Floats:
        """(n, 4): the same, loss and errors as far as they are proven: for limits."""
        return np.column_stack((self.latency_ms, self.pdv_ms, self.plr_least, self.per_least))

    def at(self, row: int) -> Estimate:
        return Estimate(
            latency_ms=_known(self.latency_ms[row]),
            pdv_ms=_known(self.pdv_ms[row]),
            plr=_known(self.plr[row]),
            per=_known(self.per[row]),
            delivered_bps=_known(self.delivered_bps[row]),
            sent_bps=_known(self.sent_bps[row]),
            queue_ms=_known(self.queue_ms[row]),
        )


def _known(value: np.float64) -> float | None:
    return None if np.isnan(value) else float(value)
