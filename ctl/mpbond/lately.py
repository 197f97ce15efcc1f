"""What a path's last few probes say of it, for decisions that cannot wait. Pure.

The mean of 64 probes (estimate.py) is what a path is like; it follows a change of the
path slowly, and a recovery too. Here are the delay of about the last second, as the
median, which one or two late probes do not move; how much it varies of late; and the
extremes of the way to the peer, by which flows change paths without overtaking
themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mpbond.abi import RTT_SAMPLES
from mpbond.groups import Groups
from mpbond.rows import Array, Bools, Floats, Ints, Rows, fresh_record

# The delay of now: the median of so many probes, as many as go out in so long a time.
NOW_NS = 750_000_000
NOW_LEAST, NOW_MOST = 3, 8
# The variation of now is that of so many.
VARIED = 16
# Extremes are of the last 8 to 10 s.
BUCKETS = 5
BUCKET_NS = 2_000_000_000

# Nothing known of a path: flows leave it after so long a silence only.
UNKNOWN_US = 10_000_000
_LEAST, _MOST = int(np.iinfo(np.int64).min), int(np.iinfo(np.int64).max)

_STATE = np.dtype(
    [
        ("seen", "?"),
        ("count", "<u4"),
        ("filled", "<i8"),  # answers in the ring that are of this life
        ("delay_ms", "<f8"),
        ("varies_ms", "<f8"),
        ("least_ns", "<i8", BUCKETS),
        ("most_ns", "<i8", BUCKETS),
    ]
)

# (rows (c,), places in the ring (c, m)) -> what stands there (c, m).
Ring = Callable[[Ints, Ints], Array]


@dataclass(frozen=True, slots=True)
class Answers:
    """(n,) arrays: answers so far, wrapping; between two probes; too long without one.
    `rtt_ns`, `forward_ns`: how to read the rings of the last 64, see samples.Sample."""

    count: npt.NDArray[np.uint32]
    interval_ns: Ints
    silent: Bools
    rtt_ns: Ring
    forward_ns: Ring


class Lately(Rows):
    """`follow` the paths, `update` once a control period.

    `delay_ms`, `varies_ms`: (n,) half round trips; NaN for a silent path."""

    def __init__(self) -> None:
        never = {"least_ns": _MOST, "most_ns": _LEAST}
        super().__init__(fresh_record(_STATE, delay_ms=np.nan, varies_ms=np.nan, **never))
        self._bucket = 0

    @property
    def delay_ms(self) -> Floats:
        found: Floats = self.state["delay_ms"].copy()
        return found

    @property
    def varies_ms(self) -> Floats:
        found: Floats = self.state["varies_ms"].copy()
        return found

    def update(self, now_ns: int, answers: Answers) -> None:
        state = self.state
        self._turn_pages(now_ns)
        state[answers.silent] = self._fresh
        more = (answers.count - state["count"]).astype(np.int64)
        more = np.where(state["seen"], more, np.minimum(answers.count, RTT_SAMPLES))
        # A silent path that answers again begins with these answers.
        more[answers.silent] = 0
        state["filled"] = np.minimum(state["filled"] + more, RTT_SAMPLES)
        state["count"], state["seen"] = answers.count, True
        rows = np.flatnonzero(more > 0)
        if len(rows):
            self._delays(rows, answers)
            self._extremes(rows, answers, np.minimum(more[rows], VARIED))

    def _turn_pages(self, now_ns: int) -> None:
        bucket = now_ns // BUCKET_NS
        for later in range(max(self._bucket + 1, bucket - BUCKETS + 1), bucket + 1):
            self.state["least_ns"][:, later % BUCKETS] = _MOST
            self.state["most_ns"][:, later % BUCKETS] = _LEAST
        self._bucket = bucket

    def _places(self, rows: Ints, count: int) -> Ints:
        """(c, count) where the newest answers stand, newest first."""
        head = self.state["count"][rows].astype(np.int64)[:, np.newaxis]
        places: Ints = (head - 1 - np.arange(count)) % RTT_SAMPLES
        return places

    def _delays(self, rows: Ints, answers: Answers) -> None:
        state = self.state
        half_ms = answers.rtt_ns(rows, self._places(rows, VARIED)) / 2e6
        filled = state["filled"][rows][:, np.newaxis]
        age = np.arange(VARIED)
        known = age < filled
        wanted = np.clip(NOW_NS // np.maximum(answers.interval_ns[rows], 1), NOW_LEAST, NOW_MOST)
        count = np.minimum(filled[:, 0], wanted)
        late = np.sort(np.where(age < count[:, np.newaxis], half_ms, np.inf), axis=1)
        line = np.arange(len(rows))
        state["delay_ms"][rows] = (late[line, (count - 1) // 2] + late[line, count // 2]) / 2
        mean = np.where(known, half_ms, 0.0).sum(axis=1) / known.sum(axis=1)
        apart = np.where(known, half_ms - mean[:, np.newaxis], 0.0)
        state["varies_ms"][rows] = np.sqrt((apart * apart).sum(axis=1) / known.sum(axis=1))

    def _extremes(self, rows: Ints, answers: Answers, more: Ints) -> None:
        columns = int(more.max())
        forward_ns = answers.forward_ns(rows, self._places(rows, columns)).view(np.int64)
        fresh = np.arange(columns) < more[:, np.newaxis]
        least = np.where(fresh, forward_ns, _MOST).min(axis=1)
        most = np.where(fresh, forward_ns, _LEAST).max(axis=1)
        page = self._bucket % BUCKETS
        state = self.state
        state["least_ns"][rows, page] = np.minimum(state["least_ns"][rows, page], least)
        state["most_ns"][rows, page] = np.maximum(state["most_ns"][rows, page], most)

    def behind_us(self, which: Bools, bonds: Groups) -> tuple[Ints, Ints]:
        """(n,) how long a packet takes to the peer, at least and at most, over what the
        fastest of the bond's paths takes at least; of `which` (n,) of them. UNKNOWN_US
        where nothing is known of a path, or of none."""
        least, most = self.state["least_ns"].min(axis=1), self.state["most_ns"].max(axis=1)
        known = which & (least < _MOST)
        fastest = np.full(bonds.count, _MOST)
        np.minimum.at(fastest, bonds.of[known], least[known])
        first = np.where(known, fastest[bonds.of], 0)

        def since(figures: Ints, unknown_us: int) -> Ints:
            behind = (np.where(known, figures, 0) - first) // 1000
            return np.where(known, np.clip(behind, 0, UNKNOWN_US), unknown_us)

        return since(least, 0), since(most, UNKNOWN_US)
