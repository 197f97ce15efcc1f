"""One end's reports to its peer, and what the peer's say. Pure; `now_ns` is passed in.

One path carries them, the first of those that are given: the metadata connection. A
report is made when what is to be told has changed, and as a keep-up. Each frame is
acknowledged on the path it came by. One that is not, half a keep-up after the round
trip's time, is sent again over several paths, and so is all that follows until the
first path has shown itself alive: so a path that has died costs no report, long before
it counts as down. When it does, the next one takes its place, with what is in flight.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from mpbond.control_frames import MAX_NUMBER, Ack, Report, View, encode

# Over how many paths at most, where one does not suffice.
MOST_WAYS = 4
# For so often is a report repeated at the same pace; then the pauses double, up to:
BRISK_TRIES = 4
LONGEST_PAUSE_NS = 1_000_000_000
# For how long is remembered when the peer's reports came.
LATELY_NS = 10_000_000_000
_MOST_TIMES = 1024


@dataclass(frozen=True, slots=True)
class Send:
    """`path`: our index. `again`: it was sent before, or goes over others as well."""

    path: int
    text: bytes
    again: bool = False


@dataclass(frozen=True, slots=True)
class Heard:
    """The peer's newest view. `made_ns`: by the peer's clock."""

    view: View
    made_ns: int
    heard_ns: int


@dataclass(frozen=True, slots=True)
class Timeliness:
    """Of the peer's reports of late, in ns: the longest time between two, or since the
    last; how much later than the quickest one any came; how late the peer acted, at most."""

    gap_ns: int
    late_ns: int
    stall_ns: int


@dataclass(frozen=True, slots=True)
class _Arrival:
    """`took_ns`: from the peer's clock to ours, so their difference is in it."""

    heard_ns: int
    took_ns: int
    stall_ns: int


class Teller:
    """What is told to one peer."""

    def __init__(self) -> None:
        self._said: View | None = None
        self._number = 0
        self._parts: dict[int, bytes] = {}  # not yet acknowledged
        self._ways: tuple[int, ...] = ()
        self._keep_up_ns = 0
        self._made_ns = 0
        self._sent_ns = 0
        self._again_ns = 0
        self._tries = 0
        self._is_doubtful = False
        self._stall_ns = 0
        self._round_trip_ns = 0

    @property
    def way(self) -> int | None:
        """The path of the metadata connection."""
        return self._ways[0] if self._ways else None

    @property
    def unheard(self) -> bool:
        """Is a report on its way that the peer has not acknowledged?"""
        return bool(self._parts)

    def renew(self) -> None:
        """What was told may never have been heard: tell it anew."""
        self._said = None

    def due_ns(self) -> int:
        return self._again_ns if self._parts else self._made_ns + self._keep_up_ns

    def speak(
        self, view: View, ways: Sequence[int], keep_up_ns: int, now_ns: int, *, round_trip_ns: int = 0
    ) -> list[Send]:
        """What is to be sent now. `ways`: indices of the paths that it may go over, best
        first. With none, all waits for one. `round_trip_ns`: of the first, at most; 0
        where it is not known."""
        self._round_trip_ns = round_trip_ns
        if self._ways and ways:
            self._stall_ns = max(self._stall_ns, now_ns - self.due_ns())
        moved = tuple(ways[:1]) != self._ways[:1]
        self._ways, self._keep_up_ns = tuple(ways), keep_up_ns
        if moved:
            self._is_doubtful, self._tries = False, 0
        if not ways:
            self._said, self._parts, self._made_ns = None, {}, now_ns
            return []
        if self._said is None or view.essence != self._said.essence or self._is_keep_up_due(now_ns):
            return self._make(view, now_ns)
        if self._parts and (moved or now_ns >= self._again_ns):
            self._is_doubtful = self._is_doubtful or not moved
            self._tries += 1
            return self._send(now_ns, again=True)
        return []

    def _is_keep_up_due(self, now_ns: int) -> bool:
        return not self._parts and now_ns - self._made_ns >= self._keep_up_ns

    def _make(self, view: View, now_ns: int) -> list[Send]:
        waited_ns = self._again_ns if self._parts else None
        self._said, self._made_ns = view, now_ns
        self._number = (self._number + 1) & MAX_NUMBER
        self._parts = dict(enumerate(encode(view, self._number, now_ns, self._stall_ns // 1000)))
        self._stall_ns = 0
        if waited_ns is not None and now_ns >= waited_ns:
            self._is_doubtful = True
        sends = self._send(now_ns, again=False)
        if waited_ns is not None and now_ns < waited_ns:
            # News do not put off the doubt whether what went before has come.
            self._again_ns = min(self._again_ns, waited_ns)
        return sends

    def _send(self, now_ns: int, *, again: bool) -> list[Send]:
        self._sent_ns, self._again_ns = now_ns, now_ns + self._pause_ns()
        ways = self._ways[: MOST_WAYS if self._is_doubtful else 1]
        return [
            Send(path, text, again or at > 0) for text in self._parts.values() for at, path in enumerate(ways)
        ]

    def _pause_ns(self) -> int:
        patience_ns = self._keep_up_ns // 2 + self._round_trip_ns
        slower = patience_ns << min(max(0, self._tries - BRISK_TRIES), 16)
        return max(patience_ns, min(slower, LONGEST_PAUSE_NS))

    def acknowledged(self, ack: Ack, path: int | None) -> None:
        """`path`: our index of the path that the acknowledged frame went over."""
        if path is not None and path == self.way:
            self._is_doubtful = False
        if ack.number != self._number:
            # Of one before: the way is open, what went after may take its time too.
            self._again_ns = max(self._again_ns, self._sent_ns + self._pause_ns())
            return
        self._parts.pop(ack.part, None)
        if not self._parts:
            self._tries = 0


class Listener:
    """What one peer has told. A part is taken once, a view when all its parts are there."""

    def __init__(self) -> None:
        self.heard: Heard | None = None
        self.reports = 0
        self._number = 0
        self._parts: dict[int, Report] = {}
        self._arrivals: deque[_Arrival] = deque(maxlen=_MOST_TIMES)

    def renew(self) -> None:
        """The peer's reports are numbered anew."""
        self._number, self._parts = 0, {}

    def take(self, report: Report, now_ns: int) -> bool:
        """True if the peer's view is heard by it."""
        if report.number < self._number or (report.number == self._number and not self._parts):
            return False
        if report.number > self._number:
            self._number, self._parts = report.number, {}
        self._parts[report.part] = report
        if len(self._parts) < report.parts:
            return False
        paths = tuple(path for _, part in sorted(self._parts.items()) for path in part.view.paths)
        self._parts = {}
        self.heard = Heard(replace(report.view, paths=paths), report.made_ns, now_ns)
        self.reports += 1
        self._arrivals.append(_Arrival(now_ns, now_ns - report.made_ns, report.stall_us * 1000))
        return True

    def timeliness(self, now_ns: int) -> Timeliness:
        """Of the last LATELY_NS."""
        recent = [one for one in self._arrivals if now_ns - one.heard_ns <= LATELY_NS]
        since_ns = now_ns - self.heard.heard_ns if self.heard else 0
        took = [one.took_ns for one in recent]
        return Timeliness(
            gap_ns=max([since_ns, *(after.heard_ns - before.heard_ns for before, after in pairwise(recent))]),
            late_ns=max(took) - min(took) if took else 0,
            stall_ns=max((one.stall_ns for one in recent), default=0),
        )
