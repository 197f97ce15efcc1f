"""Reports to and from all peers with a session by handshake: sealed, sent, taken in.

The handshakes' thread does the work; the controller says, at the moment that a path
changes, that there may be news, and which path carries them follows from the bond's
state then. Everything here is done under the controller's lock, a peer at a time.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from mpbond import control_frames as frames
from mpbond.control_frames import Ack, ControlError, PathMark, PathReport, Report, policy_name, policy_text
from mpbond.control_seal import Opener, Sealer
from mpbond.controller.bond import BondState
from mpbond.controller.carrier import Carrier
from mpbond.controller.measuring import Measuring
from mpbond.controller.prober import interval_ns
from mpbond.controller.reporting import round_trip_of, view_of, way_of, ways_of
from mpbond.events import History, Kind
from mpbond.kernel.dataplane import Dataplane
from mpbond.reports import Heard, Listener, Send, Teller, Timeliness
from mpbond.sessions import Session
from mpbond.wire import HEADER_LEN, TYPE_CONTROL, bond_header

# Keep-ups go out each probe interval, but of one peer not more often than this,
LEAST_KEEP_UP_NS = 50_000_000
# and to all peers together not more of them than this.
MOST_KEEP_UPS_HZ = 200
IDLE_NS = 1_000_000_000
# A peer does not fill the log by changing its mind.
LEAST_NEWS_NS = 1_000_000_000

Hear = Callable[[int, frozenset[int], int], None]


@dataclass(slots=True)
class _Sending:
    number: bytes
    sealer: Sealer


@dataclass(slots=True)
class _Receiving:
    """`rank`: the later the session was agreed, the higher."""

    peer: _Peer
    rank: int
    opener: Opener


@dataclass(slots=True)
class _Peer:
    """`sending`: None while the peer takes no reports. `rank`: of the newest session
    that was heard under; `reported`: what the peer said last, by our path index."""

    state: BondState
    keep_up_ns: int
    sending: _Sending | None = None
    rank: int = 0
    teller: Teller = field(default_factory=Teller)
    listener: Listener = field(default_factory=Listener)
    reported: dict[int, PathReport] = field(default_factory=dict)
    due_ns: int = 0
    policies: tuple[int, int] | None = None
    told_ns: int = -LEAST_NEWS_NS


@dataclass(frozen=True, slots=True)
class Told:
    """For listings. `way`: our index of the metadata connection's path."""

    heard: Heard | None
    reported: Mapping[int, PathReport]
    reports: int
    timeliness: Timeliness
    way: int | None
    is_wanted: bool


class Control:
    def __init__(self, plane: Dataplane, carrier: Carrier) -> None:
        self._plane = plane
        self._carrier = carrier
        self._lock: threading.RLock = threading.RLock()
        self._measuring = Measuring()
        self._history = History(lambda line: None)
        self._wake: Callable[[], None] = lambda: None
        self._hear: Hear = lambda bond, spares, now_ns: None
        self._peers: dict[str, _Peer] = {}
        self._receiving: dict[bytes, _Receiving] = {}
        self._rank = 0
        self.counts: Counter[str] = Counter(dict.fromkeys(frames.REASONS, 0))

    def serve(
        self,
        lock: threading.RLock,
        measuring: Measuring,
        history: History,
        *,
        hear: Hear,
        wake: Callable[[], None],
    ) -> None:
        """Of the controller: `hear` takes a bond, those of its paths
        that its peer calls spares, and the time;
        `wake` has `work` called soon."""
        self._lock, self._measuring, self._history = lock, measuring, history
        self._hear, self._wake = hear, wake

    # ---- the controller's calls, under its lock ---------------------------------------

    def follow(self, states: Iterable[BondState]) -> None:
        """The bonds there are now whose peers have a public key."""
        wanted = {state.spec.peer.id: state for state in states if state.spec.peer.public_key}
        least_ns = max(LEAST_KEEP_UP_NS, 1_000_000_000 * len(wanted) // MOST_KEEP_UPS_HZ)
        for gone in self._peers.keys() - wanted.keys():
            peer = self._peers.pop(gone)
            for number in [number for number, one in self._receiving.items() if one.peer is peer]:
                del self._receiving[number]
        for peer_id, state in wanted.items():
            keep_up_ns = max(interval_ns(state.spec.policy.failover_interval_ms), least_ns)
            peer = self._peers.setdefault(peer_id, _Peer(state, keep_up_ns))
            peer.state, peer.keep_up_ns = state, keep_up_ns
        self.look_at(state.spec.index for state in wanted.values())

    def look_at(self, bonds: Iterable[int]) -> None:
        """There may be news of these bonds, and their metadata path may be another."""
        looked = set(bonds)
        found = [peer for peer in self._peers.values() if peer.state.spec.index in looked]
        for peer in found:
            peer.due_ns = 0
        if found:
            self._wake()

    def told(self, peer_id: str, now_ns: int) -> Told | None:
        """None of peers without a public key."""
        peer = self._peers.get(peer_id)
        if peer is None:
            return None
        return Told(
            heard=peer.listener.heard,
            reported=peer.reported,
            reports=peer.listener.reports,
            timeliness=peer.listener.timeliness(now_ns),
            way=next(iter(self._ways(peer)), None),
            is_wanted=peer.sending is not None,
        )

    # ---- sessions, under the controller's lock ------------------------------------------

    def receive_under(self, peer_id: str, session: Session) -> None:
        peer = self._peers.get(peer_id)
        if peer is not None and session.control_key:
            self._rank += 1
            self._receiving[session.number] = _Receiving(peer, self._rank, Opener(session.control_key))

    def send_under(self, peer_id: str, session: Session, now_ns: int, *, takes_reports: bool) -> None:
        """From here on; a peer that takes none is sent none, and not believed what it
        said before it was another version."""
        peer = self._peers.get(peer_id)
        if peer is None:
            return
        peer.teller.renew()
        peer.sending = _Sending(session.number, Sealer(session.control_key)) if takes_reports else None
        if not takes_reports:
            peer.listener, peer.reported = Listener(), {}
            self._hear(peer.state.spec.index, frozenset(), now_ns)
        peer.due_ns = 0
        self._wake()

    def forget(self, number: bytes) -> None:
        self._receiving.pop(number, None)

    # ---- the thread's calls -------------------------------------------------------------

    def next_due_ns(self, otherwise_ns: int) -> int:
        with self._lock:
            due = (peer.due_ns for peer in self._peers.values() if peer.sending is not None)
            return min(due, default=otherwise_ns)

    def work(self, now_ns: int) -> None:
        """Says what is due. `now_ns` may lie back a little: the lock is waited for."""
        with self._lock:
            peers = [peer for peer in self._peers.values() if peer.due_ns <= now_ns]
        for peer in peers:
            with self._lock:
                self._speak(peer, now_ns)

    def _speak(self, peer: _Peer, now_ns: int) -> None:
        if peer.sending is None:
            peer.due_ns = now_ns + IDLE_NS
            return
        view = view_of(self._plane, peer.state, self._measuring)
        ways = self._ways(peer)
        round_trip_ns = round_trip_of(self._measuring, ways[0]) if ways else 0
        sends = peer.teller.speak(view, ways, peer.keep_up_ns, now_ns, round_trip_ns=round_trip_ns)
        self._send(peer, sends)
        peer.due_ns = peer.teller.due_ns()
        self._compare(peer, now_ns)

    def _ways(self, peer: _Peer) -> tuple[int, ...]:
        return ways_of(peer.state, int(self._plane.bonds["metadata_path"][peer.state.spec.index]))

    def _send(self, peer: _Peer, sends: Iterable[Send]) -> None:
        if peer.sending is None:
            return
        first = peer.state.spec.index * self._plane.block
        for send in sends:
            header = bond_header(peer.sending.number, send.path - first, kind=TYPE_CONTROL)
            frame = peer.sending.sealer.seal(header, send.text)
            self.counts["control_again" if send.again else "control_sent"] += 1
            if not self._carrier.send(way_of(self._plane, send.path), frame):
                self.counts["control_unsent"] += 1

    def take(self, data: bytes, now_ns: int) -> None:
        """A frame from the ring, header and all."""
        header, body = data[:HEADER_LEN], data[HEADER_LEN:]
        with self._lock:
            try:
                self._take(header, body, now_ns)
            except ControlError as error:
                self.counts[error.reason] += 1

    def _take(self, header: bytes, body: bytes, now_ns: int) -> None:
        number, peers_path = header[8:], int.from_bytes(header[2:4], "big")
        known = self._receiving.get(number)
        if known is None:
            raise ControlError("control_no_key")
        frame = frames.decode(known.opener.open(header, body))
        peer = known.peer
        if known.rank < peer.rank:
            raise ControlError("control_outdated")
        if known.rank > peer.rank:
            peer.rank = known.rank
            peer.listener.renew()
        if isinstance(frame, Ack):
            self._take_ack(peer, frame)
            return
        self.counts["control_reports"] += 1
        paths = self._plane.sessions.local_paths(number)
        way = paths.get(peers_path)
        if way not in peer.state.health:
            way = peer.teller.way
        if way is not None:
            self._send(peer, [Send(way, Ack(peers_path, frame.number, frame.part).encode())])
        self._take_report(peer, paths, frame, now_ns)

    def _take_ack(self, peer: _Peer, ack: Ack) -> None:
        self.counts["control_acks"] += 1
        index = peer.state.spec.index * self._plane.block + ack.path
        peer.teller.acknowledged(ack, index)
        peer.due_ns = peer.teller.due_ns()

    def _take_report(self, peer: _Peer, paths: Mapping[int, int], report: Report, now_ns: int) -> None:
        """`paths`: the peer's path numbers, and our indices of them."""
        if not peer.listener.take(report, now_ns) or peer.listener.heard is None:
            return
        view = peer.listener.heard.view
        peer.reported = {paths[path.number]: path for path in view.paths if path.number in paths}
        spares = {index for index, path in peer.reported.items() if path.marks & PathMark.SPARE}
        self._hear(peer.state.spec.index, frozenset(spares), now_ns)
        self._compare(peer, now_ns)

    def _compare(self, peer: _Peer, now_ns: int) -> None:
        """Tells when the ends come to send by different policies, or by the same again."""
        heard = peer.listener.heard
        if heard is None:
            return
        own = int(self._plane.bonds[peer.state.spec.index]["policy"])
        before, peer.policies = peer.policies, (own, heard.view.policy_code)
        differ = own != heard.view.policy_code
        if peer.policies == before or (before is None and not differ):
            return
        if now_ns - peer.told_ns < LEAST_NEWS_NS:
            peer.policies = before
            return
        peer.told_ns = now_ns
        policy = peer.state.spec.policy
        theirs = policy_text(heard.view.policy, policy_name(heard.view.policy_code))
        words = "another than ours" if differ else "the same as ours"
        cause = f"{theirs}, {words}: {policy_text(policy.name, policy_name(own))}"
        self._history.add(now_ns, Kind.PEER_POLICY, peer.state.spec.peer.id, cause=cause)
