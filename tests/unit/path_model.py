"""Made-up paths, and what the kernel's counters would say of them at any moment.

A path is drawn whole, probes and data, before anything is read; reading it is
looking up what has come by then. Times in ns since the path began.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any

import numpy as np
import numpy.typing as npt

from mpbond.abi import RTT_SAMPLES
from mpbond.controller.prober import MIN_INTERVAL_NS, PROBES_PER_INTERVAL, SUSPICION
from mpbond.samples import Sample

SECOND = 1_000_000_000
MS = 1_000_000
NEVER = np.iinfo(np.int64).max
Times = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Stretch:
    """For so long a path is so. Loss and errors 0..1 and by chance, errors on the way
    back; `probing`: else the controller is asleep, and the bond's clock stands."""

    seconds: float
    delay_ms: float = 10.0
    jitter_ms: float = 0.0
    loss: float = 0.0
    loss_back: float = 0.0
    errors: float = 0.0
    packets_per_s: float = 0.0
    probing: bool = True
    delay_back_ms: float | None = None


@dataclass(frozen=True)
class Counters:
    """Where they stand as the path begins: 32-bit ones may wrap. `clock_ns`: the peer's."""

    rtt_count: int = 0
    probes: int = 0
    sent: int = 0
    received: int = 0
    clock_ns: int = 12345


class PathModel:
    """Probed as prober.py does it: sooner where an answer is overdue."""

    def __init__(
        self,
        *stretches: Stretch,
        seed: int = 1,
        probe_interval_ns: int = 125 * MS,
        packet_bytes: int = 1000,
        start: Counters = Counters(),
    ) -> None:
        self.probe_interval_ns, self._bytes, self._start = probe_interval_ns, packet_bytes, start
        self._first = stretches[0]
        self._random = np.random.default_rng(seed)
        self._stalls = [span for stretch, *span in _spans(stretches) if not stretch.probing]
        self._send_probes(stretches)
        self._send_data(stretches)

    def _delay_ns(self, mean_ms: float, stretch: Stretch, count: int = 1) -> Times:
        drawn = self._random.normal(mean_ms * MS, stretch.jitter_ms * MS, count)
        # No way takes no time: 0 in a ring is a place without an answer yet.
        return np.maximum(drawn, 1).astype(np.int64)

    def _send_probes(self, stretches: Sequence[Stretch]) -> None:
        """Who left when, was there when, was answered when (NEVER: lost); and the
        times at which a damaged answer came."""
        probes: list[tuple[int, int, int]] = []
        broken: list[int] = []
        under_way: list[int] = []
        proof_ns = 0
        for stretch, begins, ends in _spans(stretches):
            at_ns, proof_ns = begins, proof_ns if stretch.probing else begins
            while stretch.probing and at_ns < ends:
                there, back = self._probe(stretch, at_ns)
                if back != NEVER and self._random.random() < stretch.errors:
                    broken.append(back)
                    back = NEVER
                probes.append((at_ns, there, back))
                heappush(under_way, back)
                while under_way and under_way[0] <= at_ns:
                    proof_ns = heappop(under_way)
                overdue = SUSPICION < (at_ns - proof_ns) / self.probe_interval_ns <= PROBES_PER_INTERVAL
                at_ns += MIN_INTERVAL_NS if overdue else self.probe_interval_ns
        self._left, self._there, back_ns = np.array(probes).T
        answered = np.flatnonzero(back_ns != NEVER)
        self._number = answered[np.argsort(back_ns[answered], kind="stable")]
        self._answer_ns = back_ns[self._number]
        self._broken_ns = np.sort(broken)

    def _probe(self, stretch: Stretch, at_ns: int) -> tuple[int, int]:
        back_ms = stretch.delay_ms if stretch.delay_back_ms is None else stretch.delay_back_ms
        there = at_ns + int(self._delay_ns(stretch.delay_ms, stretch)[0])
        back = there + int(self._delay_ns(back_ms, stretch)[0])
        lost = self._random.random(2) < (stretch.loss, stretch.loss_back)
        return there, NEVER if lost.any() else back

    def _send_data(self, stretches: Sequence[Stretch]) -> None:
        left, came = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for stretch, begins, ends in _spans(stretches):
            if stretch.packets_per_s:
                data = np.arange(begins, ends, int(SECOND / stretch.packets_per_s))
                there = data + self._delay_ns(stretch.delay_ms, stretch, len(data))
                left.append(data)
                came.append(there[self._random.random(len(data)) >= stretch.loss])
        self._data = np.concatenate(left)
        self._sent_at = np.searchsorted(self._data, self._left)
        self._received_at = np.searchsorted(np.sort(np.concatenate(came)), self._there, side="right")

    def _clock_ns(self, at_ns: int) -> int:
        """The bond's: it stands still in a stall."""
        return at_ns - sum(max(0, min(at_ns, ends) - begins) for begins, ends in self._stalls)

    def _earlier(self) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint64]]:
        """The rings as the path begins: where it had answers before, they were like those
        to come, without jitter."""
        old = np.arange(RTT_SAMPLES) < self._start.rtt_count
        there = int(self._first.delay_ms * MS)
        forward_ns = np.where(old, _word(np.array(there), self._start.clock_ns), np.uint64(0))
        return np.where(old, 2 * there, 0).astype(np.uint32), forward_ns

    def read(self, at_ns: int) -> dict[str, Any]:
        """One row of a Sample."""
        start = self._start
        count = int(np.searchsorted(self._answer_ns, at_ns, side="right"))
        last = self._number[max(0, count - RTT_SAMPLES) : count]
        place = (start.rtt_count + np.arange(count - len(last), count)) % RTT_SAMPLES
        rtt_ns, forward_ns = self._earlier()
        rtt_ns[place] = self._answer_ns[count - len(last) : count] - self._left[last]
        forward_ns[place] = _word(self._there[last] - self._left[last], start.clock_ns)
        newest = int(self._number[:count].max()) if count else -1
        tx_packets = int(np.searchsorted(self._data, at_ns, side="right"))
        clock_ns = self._clock_ns(at_ns)
        return {
            "failover_ns": np.int64(PROBES_PER_INTERVAL * self.probe_interval_ns),
            "probe_interval_ns": np.int64(self.probe_interval_ns),
            "silence_ns": np.int64(clock_ns - self._clock_ns(self._answer_ns[count - 1]) if count else NEVER),
            "rtt_ns": rtt_ns,
            "rtt_count": np.uint32((start.rtt_count + count) % 2**32),
            "forward_ns": forward_ns,
            "probe_highest": np.uint32((start.probes + newest + 1) % 2**32),
            "probes_answered": np.uint64(start.probes + count),
            "sent_packets": np.uint32((start.sent + int(self._sent_at[newest]) * bool(count)) % 2**32),
            "received_packets": np.uint32(
                (start.received + int(self._received_at[newest]) * bool(count)) % 2**32
            ),
            "answered_at_ns": _word(self._there[last[-1:]], start.clock_ns).sum(),
            "passed_packets": np.uint64(count),
            "failed_packets": np.uint64(np.searchsorted(self._broken_ns, at_ns, side="right")),
            "tx_packets": np.uint64(tx_packets),
            "tx_bytes": np.uint64(tx_packets * self._bytes),
        }


def _word(times: Times, offset: int) -> npt.NDArray[np.uint64]:
    """Modulo 2^64, as clocks of other hosts are."""
    words: npt.NDArray[np.uint64] = times.astype(np.uint64) + np.uint64(offset)
    return words


def _spans(stretches: Sequence[Stretch]) -> Iterator[tuple[Stretch, int, int]]:
    """Each with its begin and its end."""
    begins = 0
    for stretch in stretches:
        ends = begins + int(stretch.seconds * SECOND)
        yield stretch, begins, ends
        begins = ends


def sample(now_ns: int, rows: Sequence[dict[str, Any]]) -> Sample:
    """Of all paths at once."""
    return Sample(now_ns=now_ns, **{name: np.stack([row[name] for row in rows]) for name in rows[0]})
