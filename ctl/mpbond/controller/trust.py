"""Sessions that come of handshakes: agreed, put into the maps, renewed, taken out.

A thread of its own calls `work`, so that a handshake's arithmetic never stands in the
way of a probe. Its state has a lock of its own; what touches the maps is done under the
controller's lock as well, by which bonds come and go, and that one is taken first.

A session that is agreed is received under at once. Whoever began it sends under it at
once too, the other end when the kernel has heard a probe under it. Older ones are
received under for a while longer, for packets on their way.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from mpbond import connections
from mpbond.connections import Wishes
from mpbond.controller.carrier import Carrier
from mpbond.controller.control import Control
from mpbond.controller.reporting import FEATURES
from mpbond.controller.roaming import ways
from mpbond.handshake import Action, Agreed, Handshakes, Send
from mpbond.handshake_messages import Feature, Offer, tag_of
from mpbond.identity import Identity
from mpbond.kernel.dataplane import Dataplane
from mpbond.kernel.ring import HandshakeRing
from mpbond.kernel.sessions import Receiving
from mpbond.layout import BondSpec, Layout
from mpbond.sessions import Session, SessionPair
from mpbond.wire import HEADER_LEN, TYPE_CONTROL, TYPE_HANDSHAKE, bond_header, type_of

# How long an older session is received under once a newer one was heard.
RETIRE_NS = 10_000_000_000
MOST_RECEIVING = 3
# How often is looked whether a new session was heard: at first, and after a second.
WATCH_NS, WATCH_LATER_NS = 10_000_000, 250_000_000
SILENCE_CHECK_NS = 1_000_000_000
LEAST_SILENCE_NS = 10_000_000_000
_MESSAGES_AT_ONCE = 64

Say = Callable[[str], None]
# Bond, wishes, time, and what takes the session.
Take = Callable[[int, Wishes, int, Callable[[], None]], None]


@dataclass(frozen=True, slots=True)
class KeyState:
    """For listings. `age_ns`: of the session sent under; None without one. `tries`:
    initiations since the last session; `connections`: what both ends agreed on."""

    age_ns: int | None
    rekeys: int
    tries: int
    connections: int | None
    features: Feature


@dataclass(slots=True)
class _Peer:
    """`receiving`: newest last. `waiting`: agreed, to be sent under when heard."""

    spec: BondSpec
    receiving: list[Receiving] = field(default_factory=list)
    waiting: SessionPair | None = None
    made_ns: int | None = None
    sessions: int = 0
    offer: Offer | None = None
    retire_ns: int | None = None
    watch_ns: int | None = None

    @property
    def id(self) -> str:
        return self.spec.peer.id

    @property
    def wishes(self) -> Wishes:
        """A peer that has not said anything counts as one that wants a single connection."""
        there = self.offer.connections if self.offer else connections.DEFAULT
        return Wishes(connections.wanted(self.spec.peer.num_connections), there)


class Trust:
    """Of one node with those peers that have a public key. `psks`: by their ids."""

    def __init__(
        self,
        own: Identity,
        psks: dict[str, bytes],
        plane: Dataplane,
        carrier: Carrier,
        control: Control,
        *,
        rekey_ns: int,
        say: Say,
    ) -> None:
        self._psks = psks
        self._plane = plane
        self._carrier = carrier
        self.control = control
        self._say = say
        self._ring = HandshakeRing(plane.maps["handshakes"])
        self._machine = Handshakes(own, secrets.token_bytes, rekey_ns=rekey_ns)
        self._peers: dict[str, _Peer] = {}
        self._lock = threading.RLock()
        self._bonds_lock: threading.RLock = threading.RLock()
        self._probe: Callable[[int], None] = lambda bond: None
        self._take: Take = lambda bond, wishes, now_ns, switch: switch()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK)
        self._silence_due_ns = 0
        self._unsent = 0
        while self._ring.take():
            pass  # to an earlier controller: its handshakes ended with it
        plane.node["handshake_tag"] = int.from_bytes(tag_of(own.public), "little")

    # ---- the controller's calls, under its lock -------------------------------------

    def follow(self, layout: Layout, now_ns: int) -> None:
        """The bonds there are now, and their paths."""
        wanted = {bond.peer.id: bond for bond in layout.bonds if bond.peer.id in self._psks}
        with self._lock:
            for gone in self._peers.keys() - wanted.keys():
                del self._peers[gone]
                self._machine.remove_peer(gone)
            for peer_id, bond in wanted.items():
                self._follow_bond(peer_id, bond, now_ns)
        self.wake()

    def _follow_bond(self, peer_id: str, bond: BondSpec, now_ns: int) -> None:
        public = bond.peer.public_key
        assert public is not None  # who has a pre-shared key here has one
        wanted = connections.wanted(bond.peer.num_connections)
        offer = Offer(wanted, FEATURES, bond.peer.max_recv_kbps)
        found = ways(self._plane.endpoints, bond, self._plane.path_index(bond.index, 0))
        self._machine.put_peer(peer_id, public, self._psks[peer_id], offer, found, now_ns)
        known = self._peers.get(peer_id)
        if known is not None and known.spec.index == bond.index:
            known.spec = bond
            return
        peer = _Peer(bond, self._plane.sessions.receiving(bond.index))
        self._peers[peer_id] = peer
        if int.from_bytes(self._plane.sessions.sending(bond.index), "big") and peer.receiving:
            self._adopt(peer, now_ns)

    def _adopt(self, peer: _Peer, now_ns: int) -> None:
        """Goes on with the session that an earlier controller left."""
        heard = [one for one in peer.receiving if one.heard]
        peer.made_ns = (heard or peer.receiving)[-1].made_ns
        peer.retire_ns = now_ns + RETIRE_NS
        self._machine.resume(peer.id, peer.made_ns)
        # Its control keys died with that controller.
        self._machine.begin(peer.id, now_ns)

    def state(self, peer_id: str, now_ns: int) -> KeyState | None:
        """None of peers without a public key."""
        with self._lock:
            peer = self._peers.get(peer_id)
            if peer is None:
                return None
            offer = peer.offer
            return KeyState(
                age_ns=None if peer.made_ns is None else now_ns - peer.made_ns,
                rekeys=max(0, peer.sessions - 1),
                tries=self._machine.tries(peer_id),
                connections=peer.wishes.agreed if offer else None,
                features=offer.features if offer else Feature.NONE,
            )

    def receive_rates(self) -> dict[str, int]:
        """By peer, what it wants to receive at most, KiB/s: of those that have said so."""
        with self._lock:
            return {id: peer.offer.max_recv_kbps for id, peer in self._peers.items() if peer.offer}

    def counts(self) -> dict[str, int]:
        with self._lock:
            return {**self._machine.counts, "handshake_unsent": self._unsent, **self.control.counts}

    # ---- the calls of a thread of its own ------------------------------------------

    def serve(self, lock: threading.RLock, probe: Callable[[int], None], take: Take) -> None:
        """Before the first `work`: the controller's lock, what has a bond probed at once,
        by its index, and what fits its connections to a session as that is taken."""
        self._bonds_lock, self._probe, self._take = lock, probe, take

    def fds(self) -> tuple[int, int]:
        """Readable when there is something to do before `next_due_ns`."""
        return self._ring.fd, self._wake

    def next_due_ns(self) -> int:
        with self._lock:
            due = [self._silence_due_ns]
            for peer in self._peers.values():
                due += [at for at in (peer.retire_ns, peer.watch_ns) if at is not None]
            until = min(*due, self._machine.next_due_ns(self._silence_due_ns))
        return self.control.next_due_ns(until)

    def wake(self) -> None:
        os.eventfd_write(self._wake, 1)

    def work(self, now_ns: int, wall_ns: int) -> None:
        """Messages that have come, then what is due. `wall_ns`: the time of day."""
        with suppress(BlockingIOError):
            os.eventfd_read(self._wake)
        for _ in range(_MESSAGES_AT_ONCE):
            taken = self._ring.take()
            if taken is None:
                break
            data, way = taken
            if type_of(data) == TYPE_CONTROL:
                self.control.take(data, now_ns)
                continue
            with self._lock:
                actions = self._machine.receive(data[HEADER_LEN:], way, now_ns)
            self._perform(actions, now_ns)
        with self._lock:
            actions = self._machine.tick(now_ns, wall_ns)
        self._perform(actions, now_ns)
        self._look_after(now_ns)
        self.control.work(now_ns)

    def close(self) -> None:
        self._carrier.close()
        self._ring.close()
        os.close(self._wake)

    def _perform(self, actions: list[Action], now_ns: int) -> None:
        for action in actions:
            if isinstance(action, Agreed):
                self._install(action, now_ns)
            else:
                self._send(action)

    def _send(self, send: Send) -> None:
        data = bond_header(send.tag, 0, kind=TYPE_HANDSHAKE) + send.body
        if not self._carrier.send(send.way, data):
            self._unsent += 1

    # ---- sessions in the maps -----------------------------------------------------------

    def _install(self, agreed: Agreed, now_ns: int) -> None:
        with self._bonds_lock, self._lock:
            peer = self._peers.get(agreed.peer)
            if peer is None:
                return  # gone meanwhile, and its bond with it
            peer.offer = agreed.offer
            self._receive_under(peer, agreed.session.rx, now_ns)
            peer.watch_ns = now_ns + WATCH_NS
            if agreed.initiator:
                self._send_under(peer, agreed.session, now_ns)
            else:
                peer.waiting = agreed.session

    def _receive_under(self, peer: _Peer, session: Session, now_ns: int) -> None:
        heard = [one for one in peer.receiving if one.heard]
        after = (heard or peer.receiving)[-1].number if peer.receiving else b""
        wishes = peer.wishes
        self._plane.sessions.receive_under(
            peer.spec.index, session, now_ns, after, connections=wishes.agreed, offered=wishes.here
        )
        self.control.receive_under(peer.id, session)
        peer.receiving.append(Receiving(session.number, peer.spec.index, now_ns, False))
        while len(peer.receiving) > MOST_RECEIVING:
            # The oldest, but for the one that the peer uses.
            oldest = next(one for one in peer.receiving if not heard or one is not heard[-1])
            self._forget(peer, oldest)

    def _forget(self, peer: _Peer, one: Receiving) -> None:
        self._plane.sessions.forget(one.number)
        self.control.forget(one.number)
        peer.receiving.remove(one)

    def _send_under(self, peer: _Peer, session: SessionPair, now_ns: int) -> None:
        index, sending = peer.spec.index, self._plane.sessions
        self._take(index, peer.wishes, now_ns, lambda: sending.send_under(index, session.tx))
        if peer.made_ns is None:
            self._say(f"{peer.id}: session agreed")
        peer.made_ns, peer.waiting = now_ns, None
        peer.sessions += 1
        takes_reports = peer.offer is not None and Feature.REPORTS in peer.offer.features
        self.control.send_under(peer.id, session.tx, now_ns, takes_reports=takes_reports)
        self._probe(peer.spec.index)

    def _look_after(self, now_ns: int) -> None:
        """New sessions that were heard, old ones that have had their time, silent peers."""
        with self._bonds_lock, self._lock:
            for peer in self._peers.values():
                if peer.watch_ns is not None and peer.watch_ns <= now_ns:
                    self._watch(peer, now_ns)
                if peer.retire_ns is not None and peer.retire_ns <= now_ns:
                    self._retire(peer)
            if self._silence_due_ns <= now_ns:
                self._silence_due_ns = now_ns + SILENCE_CHECK_NS
                for peer in self._peers.values():
                    if peer.made_ns is not None and self._is_silent(peer, now_ns):
                        self._machine.begin(peer.id, now_ns)

    def _watch(self, peer: _Peer, now_ns: int) -> None:
        newest = peer.receiving[-1]
        if not self._plane.sessions.was_heard(newest.number):
            fast = now_ns - newest.made_ns < SILENCE_CHECK_NS
            peer.watch_ns = now_ns + (WATCH_NS if fast else WATCH_LATER_NS)
            return
        peer.watch_ns = None
        peer.receiving[-1] = Receiving(newest.number, newest.bond, newest.made_ns, True)
        peer.retire_ns = now_ns + RETIRE_NS
        if peer.waiting is not None:
            self._send_under(peer, peer.waiting, now_ns)
            self._machine.confirmed(peer.id, now_ns)

    def _retire(self, peer: _Peer) -> None:
        peer.retire_ns = None
        heard = [one for one in peer.receiving if one.heard]
        for one in [one for one in peer.receiving if heard and one.made_ns < heard[-1].made_ns]:
            self._forget(peer, one)

    def _is_silent(self, peer: _Peer, now_ns: int) -> bool:
        """Nothing that passed its check for long, on any path."""
        first = self._plane.path_index(peer.spec.index, 0)
        last_in_ns = int(np.max(self._plane.paths_live["last_in_ns"][first : first + self._plane.block]))
        patience_ns = max(LEAST_SILENCE_NS, 3 * peer.spec.policy.failover_interval_ms * 1_000_000)
        return now_ns - max(last_in_ns, peer.made_ns or 0) > patience_ns
