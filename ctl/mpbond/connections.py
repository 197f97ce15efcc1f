"""How many connections two ends use on each path: Syncthing's numConnections. Pure.

Either side 1 -> 1, else the larger of the two, at most 128; 0 means the default. A path
is told from another by link and addresses, a connection of a path from another by its
UDP source port alone; all of a peer's paths together have no more than 128 of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

DEFAULT = 1
MOST = 128
# Between two connections that come up after a change.
PACE_NS = 2_000_000_000

# What becomes of connections that one end wanted and the other did not, by name.
REASONS = {
    "connections_refused": "connections of the peer's beyond what both ends agreed on, on each path",
    "connections_denied": "connections of ours that the peer did not agree to, on each path",
}


def wanted(configured: int) -> int:
    """What one end asks for: 0 is the default, negative is one."""
    if configured == 0:
        return DEFAULT
    return min(max(configured, 1), MOST)


def agreed(this: int, other: int) -> int:
    """What comes of both ends' wishes, each as configured. An end that has not said
    anything counts as one that wants a single connection."""
    here, there = wanted(this), wanted(other)
    return 1 if 1 in (here, there) else max(here, there)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What both ends want on each path: this one, and the other as it has said."""

    here: int
    there: int

    @property
    def agreed(self) -> int:
        return agreed(self.here, self.there)

    @property
    def denied(self) -> int:
        """How many of each path this end has wanted in vain."""
        return max(0, wanted(self.here) - self.agreed)

    @property
    def refused(self) -> int:
        """How many the other has."""
        return max(0, wanted(self.there) - self.agreed)


def shares(agreed_on: int, paths: int, most: int = MOST) -> list[int]:
    """How many connections each of `paths` has: all that was agreed on, or what `most`
    for all of them together leaves, shared out evenly. Never none."""
    if not paths:
        return []
    each, over = divmod(min(agreed_on * paths, max(most, paths)), paths)
    return [each + (place < over) for place in range(paths)]


def metadata_path(current: int | None, order: Sequence[int]) -> int | None:
    """The path whose connection 0 carries metadata: the one that does while it is in
    `order`, that of the eligible paths, else the best of them. With none left it stays."""
    if current in order or not order:
        return current
    return order[0]


def one_and_others(connections: int) -> str:
    """Syncthing's way to write it: one for metadata and the others for data."""
    return f"1 + {connections - 1}" if connections else "0"


@dataclass(slots=True)
class Growth:
    """How many connections each path of a bond has now (`counts`, by path), and should
    have (`targets`). Fewer at once; more at once when the bond begins, later one by one:
    each may be news to a NAT or a firewall, and flows move to it."""

    agreed: int = 1
    paths: tuple[int, ...] = ()
    others: tuple[int, ...] = ()
    counts: dict[int, int] = field(default_factory=dict)
    targets: dict[int, int] = field(default_factory=dict)
    due_ns: int = 0

    def follow(self, paths: Sequence[int], others: Sequence[int], known: Mapping[int, int]) -> None:
        """The paths there are. `others` carry no data and have one connection each;
        `known`: what an earlier controller has left of those that are new here."""
        self.paths, self.others = tuple(paths), tuple(others)
        self._aim()
        before = {**known, **self.counts}
        self.counts = {path: min(before.get(path, 1), target) for path, target in self.targets.items()}

    def agree(self, agreed_on: int, now_ns: int, *, at_once: bool) -> None:
        """What a handshake has come to."""
        self.agreed = agreed_on
        self._aim()
        if at_once:
            self.counts = dict(self.targets)
        self.counts = {path: min(count, self.targets[path]) for path, count in self.counts.items()}
        self.due_ns = now_ns + PACE_NS

    def _aim(self) -> None:
        split = shares(self.agreed, len(self.paths), MOST - len(self.others))
        self.targets = dict(zip(self.paths, split, strict=True)) | dict.fromkeys(self.others, 1)

    @property
    def growing(self) -> bool:
        return self.counts != self.targets

    def tick(self, now_ns: int) -> bool:
        """Adds a connection where one is missing and due; whether it did."""
        if not self.growing or now_ns < self.due_ns:
            return False
        missing = [path for path, target in self.targets.items() if self.counts[path] < target]
        fewest = min(missing, key=lambda path: (self.counts[path], path))
        self.counts[fewest] += 1
        self.due_ns = now_ns + PACE_NS
        return True
