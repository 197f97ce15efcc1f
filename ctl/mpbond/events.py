"""What has happened to paths and bonds: records with time, cause and numbers. Pure.

Every change of state becomes an event: a line in the log, and an entry of a history
that `mpbond bond events` shows. The oldest make room for new ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

KEPT = 1000


class Kind(StrEnum):
    UP = "path-up"
    DOWN = "path-down"
    AVOIDED = "path-avoided"
    TAKEN_BACK = "path-taken-back"
    FAILOVER = "failover"
    ACTIVE = "active-path"
    WEIGHTS = "weights"
    CAPACITY = "capacity"
    POLICY = "policy"
    CONNECTIONS = "connections"
    REFUSED = "connections-refused"
    METADATA = "metadata-path"
    ENDPOINT = "endpoint"
    PEER_POLICY = "peer-policy"


@dataclass(frozen=True, slots=True)
class Event:
    """`number` counts from 1; `at_ns` is CLOCK_MONOTONIC; `path` None where it is about
    the bond. `cause` is a sentence without its end, "" where `kind` says it all."""

    number: int
    at_ns: int
    kind: Kind
    peer: str
    path: int | None
    ifname: str | None
    cause: str
    figures: dict[str, Any] = field(default_factory=dict)

    def as_json(self, wall_ns: int) -> dict[str, Any]:
        """`wall_ns`: what to add to `at_ns` for nanoseconds since 1970."""
        return {
            "number": self.number,
            "time": round((self.at_ns + wall_ns) / 1e9, 3),
            "kind": self.kind.value,
            "peer": self.peer,
            "path": self.path,
            "ifname": self.ifname,
            "cause": self.cause,
            "figures": self.figures,
        }


_WORDS = {
    Kind.UP: "up",
    Kind.DOWN: "down",
    Kind.AVOIDED: "is avoided",
    Kind.TAKEN_BACK: "is used again",
    Kind.FAILOVER: "has failed and carried traffic",
    Kind.ACTIVE: "is active",
    Kind.CAPACITY: "carries",
    Kind.WEIGHTS: "shares",
    Kind.POLICY: "policy",
    Kind.CONNECTIONS: "connections",
    Kind.REFUSED: "connections refused",
    Kind.METADATA: "carries the metadata",
    Kind.ENDPOINT: "endpoint",
    Kind.PEER_POLICY: "peer's policy",
}


def line(kind: str, path: int | None, ifname: str | None, cause: str) -> str:
    """As the log has it, without time and peer; of an event or of its JSON."""
    where = "" if path is None else f"path {path} ({ifname}) "
    text = f"{where}{_WORDS[Kind(kind)]}"
    return f"{text}: {cause}" if cause else text


class History:
    """The last KEPT events. `say` gets each as a line, as it happens."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._events: deque[Event] = deque(maxlen=KEPT)
        self._number = 0

    def add(
        self,
        now_ns: int,
        kind: Kind,
        peer: str,
        *,
        path: tuple[int, str] | None = None,
        cause: str = "",
        **figures: Any,
    ) -> None:
        """`path`: its number and interface."""
        self._number += 1
        number, ifname = path or (None, None)
        event = Event(self._number, now_ns, kind, peer, number, ifname, cause, figures)
        self._events.append(event)
        self._say(f"{peer}: {line(kind, number, ifname, cause)}")

    def since(self, number: int = 0, peer: str | None = None) -> Iterator[Event]:
        """Those after `number`, oldest first."""
        return (
            event for event in self._events if event.number > number and (peer is None or event.peer == peer)
        )
