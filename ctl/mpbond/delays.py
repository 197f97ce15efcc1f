"""How long packets take on each path, and how much of that they stand in a queue. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mpbond.rings import RECENT, late, least, mean_and_std
from mpbond.rows import Bools, Floats, Ints, Rows, fresh_record
from mpbond.samples import SECOND_NS, Sample

# A path's floor, its delay with empty queues, is the least delay of about two minutes:
# clocks drift apart by less than 10 ms in that time, and routes change.
FLOOR_BUCKETS = 8
FLOOR_BUCKET_NS = 15 * SECOND_NS
# Who sends less has no queue of its own: whatever the delay is then is the floor.
IDLE_BPS = 64_000.0

_STATE = np.dtype(
    [
        ("rtt_ns", "<f8"),
        ("rtt_std_ns", "<f8"),
        ("recent_rtt_ns", "<f8"),
        ("forward_base", "<u8"),
        ("recent_forward_ns", "<f8"),
    ]
)
_UNKNOWN = dict.fromkeys(("rtt_ns", "rtt_std_ns", "recent_rtt_ns", "recent_forward_ns"), np.nan)
# So many paths at a time that their rings stay in the processor's cache.
_CHUNK = 512


class Delays(Rows):
    """`follow` the paths, `update` once a period; a path that is silent begins anew.

    `rtt_ns`, `rtt_std_ns`: (n,) of the last 64 round trips."""

    def __init__(self) -> None:
        floor = np.full(FLOOR_BUCKETS, np.inf)
        super().__init__(fresh_record(_STATE, **_UNKNOWN), rtt=floor, forward=floor)
        self._bucket = 0

    @property
    def rtt_ns(self) -> Floats:
        return np.array(self.state["rtt_ns"])

    @property
    def rtt_std_ns(self) -> Floats:
        return np.array(self.state["rtt_std_ns"])

    def update(self, sample: Sample, filled: Ints, answered: Bools) -> None:
        """`filled`: (n,) entries of the rings that count; `answered`: whose are new."""
        self._turn_pages(sample.now_ns)
        for rows in _chunks(np.flatnonzero(answered)):
            self._look(sample, rows, filled[rows])

    def _turn_pages(self, now_ns: int) -> None:
        """Begins the buckets that have come since."""
        bucket = now_ns // FLOOR_BUCKET_NS
        for later in range(max(self._bucket + 1, bucket - FLOOR_BUCKETS + 1), bucket + 1):
            for floors in self.wide.values():
                floors[later % FLOOR_BUCKETS] = np.inf
        self._bucket = bucket

    def _look(self, sample: Sample, rows: Ints, filled: Ints) -> None:
        state = self.state
        ring, count = sample.rtt_ns[rows], sample.rtt_count[rows]
        state["rtt_ns"][rows], state["rtt_std_ns"][rows] = mean_and_std(ring, count, filled)
        in_a_second = np.clip(SECOND_NS // np.maximum(sample.probe_interval_ns[rows], 1), 2, RECENT)
        wanted = np.minimum(in_a_second, filled)
        state["recent_rtt_ns"][rows] = least(ring[np.arange(len(rows)), late(count)], wanted)
        stamps, base = sample.forward_ns[:, rows], state["forward_base"][rows]
        base = np.where(base == 0, stamps[0], base)
        # The offset of the clocks may be any 64-bit number: differences first, then floats.
        relative_ns = (stamps - base).view(np.int64)
        state["forward_base"][rows] = base
        state["recent_forward_ns"][rows] = least(relative_ns, wanted)

    def queue_ns(self, sent_bps: Floats) -> Floats:
        """(n,) how far the delay of now lies above the floor. The smaller of what the
        round trip and the way to the peer say: the one counts the way back, on the
        other the clocks drift."""
        idle = sent_bps < IDLE_BPS
        rises = []
        for name, floors in self.wide.items():
            recent_ns = self.state[f"recent_{name}_ns"]
            floors[:, idle] = np.inf
            now = floors[self._bucket % FLOOR_BUCKETS]
            np.fmin(now, recent_ns, out=now)
            rises.append(recent_ns - floors.min(axis=0))
        queue_ns: Floats = np.fmin(rises[0], rises[1])
        return queue_ns


def _chunks(rows: Ints) -> Iterator[Ints]:
    return (rows[at : at + _CHUNK] for at in range(0, len(rows), _CHUNK))
