"""How far a path is to be trusted: quality now, times how it has behaved of late. Pure.

Syncthing's figure, 0 to 100: the quality by the default limits, times the share of the
path's last 100 minutes in which it was probed and had no outage. Those minutes are
kept by the path's name, so they can outlive the controller and the host.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mpbond.rows import Bools, Floats, Rows, fresh_record

MINUTES = 100
MINUTE_NS = 60_000_000_000
# A minute in the text that is kept: without and with an outage.
GOOD, OUTAGE = ".", "x"

_STATE = np.dtype(
    [
        ("probed", "?"),  # in the minute that is not over yet
        ("lived", "?"),  # was alive since it is followed: before that there is no outage
        ("outage", "?"),
        ("count", "<i8"),  # minutes that are known
        ("minutes", "?", MINUTES),  # with an outage, the latest first
    ]
)


class TrackRecord(Rows):
    """`follow_named` the paths, `observe` them once a control period."""

    def __init__(self, kept: Mapping[str, str] | None = None) -> None:
        """`kept`: what `text` gave earlier. Anything in it that is none of ours is ignored."""
        super().__init__(fresh_record(_STATE))
        self._kept = {name: minutes[-MINUTES:] for name, minutes in (kept or {}).items()}
        self._names: dict[int, str] = {}
        self._minute: int | None = None

    def follow_named(self, names: Mapping[int, str]) -> None:
        """Path index -> name of the path, the same after another start. Who goes is
        remembered for the case that he comes again."""
        self._kept |= self._followed()
        order = sorted(names)
        self.follow(order)
        for row, index in enumerate(order):
            if self._names.get(index) != names[index]:
                self.state[row] = self._recalled(self._kept.get(names[index], ""))
        self._names = dict(names)

    def _recalled(self, text: str) -> np.ndarray:
        record = self._fresh.copy()
        latest_first = [mark == OUTAGE for mark in reversed(text) if mark in (GOOD, OUTAGE)]
        record["count"] = len(latest_first)
        record["minutes"][: len(latest_first)] = latest_first
        return record

    def observe(self, now_ns: int, alive: Bools) -> bool:
        """`alive` (n,): who may carry now. True if a minute has passed."""
        minute = now_ns // MINUTE_NS
        passed = self._minute is not None and minute != self._minute
        if passed:
            self._close()
        self._minute = minute
        self.state["probed"] = True
        self.state["lived"] |= alive
        self.state["outage"] |= ~alive & self.state["lived"]
        return passed

    def _close(self) -> None:
        """The minute is over. One in which nobody probed, as the host slept, is none."""
        state = self.state
        done = state["probed"]
        state["minutes"][done, 1:] = state["minutes"][done, :-1]
        state["minutes"][done, 0] = (state["outage"] | ~state["lived"])[done]
        state["count"][done] = np.minimum(state["count"][done] + 1, MINUTES)
        state["probed"], state["outage"] = False, False

    @property
    def success(self) -> Floats:
        """(n,) 0..1: the share of minutes without an outage; 1 for a path without any."""
        bad = self.state["minutes"].sum(axis=1)
        found: Floats = 1.0 - bad / np.maximum(self.state["count"], 1)
        return found

    def text(self) -> dict[str, str]:
        """By name a mark for each minute, the latest last; also of paths that are gone."""
        return self._kept | self._followed()

    def _followed(self) -> dict[str, str]:
        return {name: self._marks(self.row(index)) for index, name in self._names.items()}

    def _marks(self, row: int) -> str:
        latest_first = self.state["minutes"][row, : int(self.state["count"][row])]
        return np.where(latest_first[::-1], ord(OUTAGE), ord(GOOD)).astype(np.uint8).tobytes().decode()


def health_scores(quality: Floats, success: Floats) -> Floats:
    """(n,) 0..100, of qualities by the default limits; NaN for who has none."""
    return 100.0 * quality * success
