"""Made-up paths, and what the kernel's counters would say of them at any moment.

A path is drawn whole, probes and data, before anything is read; reading it is
looking up what has come by then. Times in ns since the path began.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mpbond.abi import RTT_SAMPLES
from mpbond.samples import Sample

SECOND = 1_000_000_000
MS = 1_000_000
NEVER = np.iinfo(np.int64).max
Times = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Stretch:
    """For so long a path is so. Loss and errors 0..1, of each way and by chance."""

    seconds: float
    delay_ms: float = 10.0
    jitter_ms: float = 0.0
    loss: float = 0.0
    loss_back: float = 0.0
    errors: float = 0.0
    packets_per_s: float = 0.0
    probing: bool = True


@dataclass(frozen=True)
class Counters:
    """Where they stand as the path begins: 32-bit ones may wrap."""

    rtt_count: int = 0
    probes: int = 0
    sent: int = 0
    received: int = 0
    clock_ns: int = 12345


class PathModel:
    """`in_order`: jitter makes packets late, but none overtakes, as in a queue."""

    def __init__(
        self,
        *stretches: Stretch,
        seed: int = 1,
        probe_interval_ns: int = 125 * MS,
        packet_bytes: int = 1000,
        start: Counters = Counters(),
        in_order: bool = False,
    ) -> None:
        self.probe_interval_ns, self._bytes, self._start = probe_interval_ns, packet_bytes, start
        self._in_order = in_order
        self._random = np.random.default_rng(seed)
        drawn = [self._draw(stretch, begins) for stretch, begins in _begins(stretches)]
        probes, there, back, data, data_there, passed, failed = map(np.concatenate, zip(*drawn, strict=True))
        self._data = data
        came = np.sort(data_there[data_there != NEVER])
        self._sent_at = np.searchsorted(data, probes)
        self._received_at = np.searchsorted(came, there, side="right")
        answered = np.flatnonzero(back != NEVER)
        by_answer = answered[np.argsort(back[answered], kind="stable")]
        self._number, self._answer_ns = by_answer, back[by_answer]
        self._rtt_ns = self._answer_ns - probes[by_answer]
        self._there_ns = there[by_answer]
        self._forward_ns = there[by_answer] - probes[by_answer]
        self._passed, self._failed = np.sort(passed), np.sort(failed)

    def _delays(self, stretch: Stretch, leaves: Times) -> Times:
        drawn = self._random.normal(stretch.delay_ms * MS, stretch.jitter_ms * MS, len(leaves))
        arrives = leaves + np.maximum(drawn, 0).astype(np.int64)
        return np.maximum.accumulate(arrives) if self._in_order and len(leaves) else arrives

    def _draw(self, stretch: Stretch, begins: int) -> tuple[Times, ...]:
        ends = begins + int(stretch.seconds * SECOND)
        probes = np.arange(begins, ends if stretch.probing else begins, self.probe_interval_ns)
        gap = int(SECOND / stretch.packets_per_s) if stretch.packets_per_s else NEVER
        data = np.arange(begins, ends, gap) if stretch.packets_per_s else np.zeros(0, np.int64)
        every = np.concatenate((probes, data))
        order = np.argsort(every, kind="stable")
        arrives = np.empty_like(every)
        arrives[order] = self._delays(stretch, every[order])
        lost = self._random.random(len(every)) < stretch.loss
        there, data_there = arrives[: len(probes)], np.where(lost, NEVER, arrives)[len(probes) :]
        back = self._delays(stretch, there)
        gone = lost[: len(probes)] | (self._random.random(len(probes)) < stretch.loss_back)
        broken = ~gone & (self._random.random(len(probes)) < stretch.errors)
        answers = np.where(gone | broken, NEVER, back)
        return probes, there, answers, data, data_there, answers[answers != NEVER], back[broken]

    def read(self, at_ns: int) -> dict[str, Any]:
        """One row of a Sample."""
        count = int(np.searchsorted(self._answer_ns, at_ns, side="right"))
        rtt_ns, forward_ns = np.zeros(RTT_SAMPLES, np.uint32), np.zeros(RTT_SAMPLES, np.uint64)
        for at in range(max(0, count - RTT_SAMPLES), count):
            place = (self._start.rtt_count + at) % RTT_SAMPLES
            rtt_ns[place] = self._rtt_ns[at]
            forward_ns[place] = (int(self._forward_ns[at]) + self._start.clock_ns) % 2**64
        newest = int(self._number[:count].max()) if count else None
        sent = 0 if newest is None else int(self._sent_at[newest])
        received = 0 if newest is None else int(self._received_at[newest])
        stamp = (int(self._there_ns[count - 1]) + self._start.clock_ns) % 2**64 if count else 0
        tx_packets = int(np.searchsorted(self._data, at_ns, side="right"))
        return {
            "probe_interval_ns": np.int64(self.probe_interval_ns),
            "silence_ns": np.int64(at_ns - self._answer_ns[count - 1] if count else NEVER),
            "rtt_ns": rtt_ns,
            "rtt_count": np.uint32((self._start.rtt_count + count) % 2**32),
            "forward_ns": forward_ns,
            "probe_highest": np.uint32((self._start.probes + (0 if newest is None else newest + 1)) % 2**32),
            "probes_answered": np.uint64(self._start.probes + count),
            "sent_packets": np.uint32((self._start.sent + sent) % 2**32),
            "received_packets": np.uint32((self._start.received + received) % 2**32),
            "answered_at_ns": np.uint64(stamp),
            "passed_packets": np.uint64(np.searchsorted(self._passed, at_ns, side="right")),
            "failed_packets": np.uint64(np.searchsorted(self._failed, at_ns, side="right")),
            "tx_packets": np.uint64(tx_packets),
            "tx_bytes": np.uint64(tx_packets * self._bytes),
        }


def _begins(stretches: Sequence[Stretch]) -> list[tuple[Stretch, int]]:
    ends = np.cumsum([int(stretch.seconds * SECOND) for stretch in stretches])
    return list(zip(stretches, [0, *ends[:-1].tolist()], strict=True))


def sample(now_ns: int, rows: Sequence[dict[str, Any]]) -> Sample:
    """Of all paths at once."""
    return Sample(now_ns=now_ns, **{name: np.stack([row[name] for row in rows]) for name in rows[0]})
