"""Paths to a peer that the file gives no endpoints: where its probes came in, and from.

Pure. Such a peer begins by itself; this end has a path for each link, local and remote
address that the peer really uses. It goes when the peer's path of that number comes by
another way, or when nothing has come by it for long.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from mpbond.config.model import Address, Endpoint, Peer

# A path that was silent for so long, or ten failoverIntervals, is no path any more: as
# long as home routers remember a mapping, about.
LEAST_SILENCE_NS = 60_000_000_000
SILENT_INTERVALS = 10


@dataclass(frozen=True, slots=True)
class Reached:
    """Where a peer came in, and where from: what a path is made of."""

    ifname: str
    local: Address
    remote: Address
    port: int


def waits(peer: Peer) -> bool:
    """Can this end not begin?"""
    return not peer.endpoints


def patience_ns(failover_interval_ms: int) -> int:
    """How long a silent path stays."""
    return max(LEAST_SILENCE_NS, SILENT_INTERVALS * failover_interval_ms * 1_000_000)


def with_endpoints(peer: Peer, reached: Iterable[Reached]) -> Peer:
    """As if the file had given it these. Each is tied to its link."""
    endpoints = tuple(dict.fromkeys(Endpoint(one.remote, one.port, one.ifname) for one in reached))
    return replace(peer, endpoints=endpoints)


@dataclass(slots=True)
class Learnt:
    """By peer, what it has come by; in the order in which it came."""

    _by_peer: dict[str, tuple[Reached, ...]] = field(default_factory=dict)

    def of(self, peer_id: str) -> tuple[Reached, ...]:
        return self._by_peer.get(peer_id, ())

    def all(self) -> dict[str, tuple[Reached, ...]]:
        return dict(self._by_peer)

    def keep(self, peer_ids: Iterable[str]) -> None:
        """Peers that wait no more, or are gone, are forgotten."""
        wanted = set(peer_ids)
        self._by_peer = {peer: found for peer, found in self._by_peer.items() if peer in wanted}

    def add(self, peer_id: str, one: Reached, instead: Sequence[Reached] = ()) -> bool:
        """`instead`: what the peer's path of this number was before. True where it is news."""
        before = self.of(peer_id)
        kept = tuple(other for other in before if other not in instead or other == one)
        self._by_peer[peer_id] = kept if one in kept else (*kept, one)
        return self._by_peer[peer_id] != before

    def drop(self, peer_id: str, one: Reached) -> None:
        self._by_peer[peer_id] = tuple(other for other in self.of(peer_id) if other != one)
