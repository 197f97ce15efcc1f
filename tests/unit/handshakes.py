"""Two nodes with a network between them: clocks, delays and losses by hand."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from mpbond.handshake import Agreed, Handshakes, Send, Way
from mpbond.handshake_messages import Offer, tag_of
from mpbond.identity import Identity, identity

MS = 1_000_000
S = 1_000_000_000
WALL_NS = 1_700_000_000 * S
REKEY_NS = 120 * S
NO_PSK = bytes(32)
# In the order of their public keys: of two that begin at once the first goes on.
KEYS = sorted((bytes([byte]) * 32 for byte in (1, 2, 3)), key=lambda key: identity(key).public)


def entropy(seed: int) -> Callable[[int], bytes]:
    return random.Random(seed).randbytes


def way(link: int, end: int) -> Way:
    """`end` 0 or 1 of a link, as its own host sees it."""
    return Way(link, IPv4Address(f"10.0.{link}.{end + 1}"), IPv4Address(f"10.0.{link}.{2 - end}"), 9944)


@dataclass(slots=True)
class Node:
    own: Identity
    machine: Handshakes
    offer: Offer
    agreed: list[Agreed] = field(default_factory=list)

    @property
    def latest(self) -> Agreed:
        return self.agreed[-1]


# Does this message, sent at that time from that end, arrive?
Passes = Callable[[int, Send, int], bool]


@dataclass
class World:
    """`delay_ns` by link. What an end sends is kept in `wire` as (time, end, message)."""

    links: int = 2
    delay_ns: dict[int, int] = field(default_factory=dict)
    passes: Passes = lambda end, send, now_ns: True
    psks: tuple[bytes, bytes] = (NO_PSK, NO_PSK)
    offers: tuple[Offer, Offer] = (Offer(1), Offer(1))
    keys: tuple[bytes, bytes] = (KEYS[0], KEYS[1])
    seed: int = 0
    wall_ns: list[int] = field(default_factory=lambda: [WALL_NS, WALL_NS])
    now_ns: int = 0
    wire: list[tuple[int, int, Send]] = field(default_factory=list)
    nodes: dict[int, Node] = field(default_factory=dict)
    _flying: list[tuple[int, int, int, Send]] = field(default_factory=list)

    def start(self, end: int) -> Node:
        """An end comes up now, and knows nothing of before."""
        own, other = identity(self.keys[end]), identity(self.keys[1 - end])
        machine = Handshakes(own, entropy(self.seed + len(self.wire) + 1000 * end), rekey_ns=REKEY_NS)
        self.nodes[end] = Node(own, machine, self.offers[end])
        machine.put_peer(
            other.id, other.public, self.psks[end], self.offers[end], self.ways(end), self.now_ns
        )
        return self.nodes[end]

    def ways(self, end: int) -> tuple[Way, ...]:
        return tuple(way(link, end) for link in range(1, self.links + 1))

    def peer_of(self, end: int) -> str:
        return identity(self.keys[1 - end]).id

    def run(self, seconds: float) -> None:
        """Lets time pass from event to event."""
        end_ns = self.now_ns + int(seconds * S)
        while True:
            due = [node.machine.next_due_ns(end_ns) for node in self.nodes.values()]
            due += [self._flying[0][0]] if self._flying else []
            self.now_ns = max(self.now_ns, min([*due, end_ns]))
            if self.now_ns >= end_ns:
                return
            self._step()

    def _step(self) -> None:
        while self._flying and self._flying[0][0] <= self.now_ns:
            _, _, end, send = heapq.heappop(self._flying)
            self.arrive(end, send)
        for end, node in self.nodes.items():
            self._do(end, node.machine.tick(self.now_ns, self.wall_ns[end] + self.now_ns))

    def arrive(self, end: int, send: Send) -> None:
        """A message arrives at an end, if the kernel would let it up to the controller."""
        node = self.nodes.get(end)
        if node is not None and send.tag == tag_of(node.own.public):
            mirrored = way(send.way.ifindex, end)
            self._do(end, node.machine.receive(send.body, mirrored, self.now_ns))

    def _do(self, end: int, actions: list[Agreed | Send]) -> None:
        for action in actions:
            if isinstance(action, Agreed):
                self._agree(end, action)
            else:
                self.wire.append((self.now_ns, end, action))
                if self.passes(end, action, self.now_ns):
                    arrives_ns = self.now_ns + self.delay_ns.get(action.way.ifindex, 10 * MS)
                    heapq.heappush(self._flying, (arrives_ns, len(self.wire), 1 - end, action))

    def _agree(self, end: int, agreed: Agreed) -> None:
        """The initiator's probes under the new session reach the other end."""
        self.nodes[end].agreed.append(agreed)
        other = self.nodes[1 - end]
        if agreed.initiator:
            assert any(one.session.rx == agreed.session.tx for one in other.agreed), "installed there first"
            other.machine.confirmed(self.peer_of(1 - end), self.now_ns)

    def sent(self, end: int) -> list[Send]:
        return [send for _, by, send in self.wire if by == end]

    def counts(self, end: int) -> dict[str, int]:
        return {name: count for name, count in self.nodes[end].machine.counts.items() if count}
