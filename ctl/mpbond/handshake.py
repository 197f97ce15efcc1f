"""Handshakes with all peers: who has to send what, and when a session has come of it.

Pure: messages and times go in, messages and sessions come out. Noise IKpsk2 in the
manner of WireGuard, with these differences: an initiation goes out on all ways to the
peer at once, and so does the answer; and a message that was not answered is repeated as
it is for some seconds before a new one is made, so that a slow way's answer still fits.

Either end may begin, also both at once. Then the one with the smaller public key goes
on, and the other answers; should that fail, both begin again. The one that began a
session renews it, the other a little later if nothing has come.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from mpbond import handshake_messages as messages
from mpbond.config.model import Address
from mpbond.cookies import SECRET_LIFE_NS, Bucket, Cookies
from mpbond.handshake_messages import MAC_BYTES, PROLOGUE, Offer, Receiver
from mpbond.identity import Identity
from mpbond.noise import Initiator, NoiseError, Responder
from mpbond.sessions import SessionPair, from_keys

# What becomes of messages that are not taken, by name.
REASONS = {
    "handshake_malformed": "handshake message dropped: too short, too long or of no known kind",
    "handshake_bad_mac1": "handshake message dropped: made without our public key",
    "handshake_overload": "initiation dropped: too many at once",
    "handshake_cookie_sent": "initiation answered with a cookie: many at once, and the sender unproved",
    "handshake_cookie_taken": "cookie of a peer under load taken, initiation sent again",
    "handshake_failed": "handshake message dropped: does not authenticate",
    "handshake_unknown_peer": "initiation dropped: of a public key that is no peer's",
    "handshake_replayed": "initiation dropped: older than one that was taken",
    "handshake_repeated": "initiation that was taken before, on another way or again",
    "handshake_crossed": "initiation not answered: ours is on its way, and goes first",
    "handshake_unasked": "response or cookie dropped: to no initiation of ours",
    "handshake_answered": "initiation taken and answered",
    "handshake_completed": "response taken: a new session",
}

FIRST_RETRY_NS = 250_000_000
LAST_RETRY_NS = 5_000_000_000
# An initiation is made anew, with new keys, when it is so old.
INITIATION_LIFE_NS = 5_000_000_000
# For so long the smaller key's initiation goes before the other's.
CROSSING_NS = 1_000_000_000
# One message is not sent, nor its answer repeated, more often than this.
SPACING_NS = 100_000_000
# To so many places where a peer is not known to be goes an answer to one initiation.
MOST_STRAYS = 32
REKEY_NS = 120_000_000_000
# Initiations a second that are taken without a cookie, and with one.
FREE_HZ, FREE_BURST = 20.0, 40
MOST_HZ, MOST_BURST = 200.0, 200


@dataclass(frozen=True, slots=True)
class Way:
    """How a message went or came: link, local and remote address, remote port."""

    ifindex: int
    local: Address
    remote: Address
    port: int

    @property
    def source(self) -> bytes:
        """Where it came from, as a cookie proves it."""
        return self.remote.packed + self.port.to_bytes(2, "big")


@dataclass(frozen=True, slots=True)
class Send:
    """A message for the owner of a tag (see `tag_of`)."""

    way: Way
    tag: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class Agreed:
    """A new session. The initiator may send under it at once; the other end when it has
    heard something under it: say so with `confirmed`."""

    peer: str
    session: SessionPair
    initiator: bool
    offer: Offer


Action = Send | Agreed


@dataclass(slots=True)
class _Attempt:
    """An initiation of ours. `body`: up to mac1. `began_ns`: the first of the row."""

    noise: Initiator
    index: int
    body: bytes
    made_ns: int
    began_ns: int
    sent_ns: int = 0
    tries: int = 0
    due_ns: int = 0
    pause_ns: int = FIRST_RETRY_NS


@dataclass(slots=True)
class _Peer:
    """`due_ns`: when to begin; None while an attempt runs. `taken`: what was made of
    the newest initiation, to know it again, and the answer to it; `answered`: where that
    went besides `ways`, and when; `unheard`: nothing was heard yet that came of it."""

    id: str
    public: bytes
    psk: bytes
    receiver: Receiver
    offer: Offer
    ways: tuple[Way, ...] = ()
    due_ns: int = 0
    attempt: _Attempt | None = None
    newest: int = -1
    taken: bytes = b""
    answer: bytes = b""
    answered_ns: int = 0
    answered: dict[Way, int] = field(default_factory=dict)
    unheard: bool = False
    agreed_ns: int = 0
    cookies: dict[Way, tuple[bytes, int]] = field(default_factory=dict)


def _due_ns(peer: _Peer) -> int:
    """When an initiation is to be sent next."""
    return peer.attempt.due_ns if peer.attempt else peer.due_ns


class Handshakes:
    """Of one node with its peers. `entropy` gives random bytes."""

    def __init__(self, own: Identity, entropy: Callable[[int], bytes], *, rekey_ns: int = REKEY_NS) -> None:
        self._own = own
        self._receiver = Receiver(own.public)
        self._entropy = entropy
        self._rekey_ns = rekey_ns
        self._peers: dict[str, _Peer] = {}
        self._free = Bucket(FREE_HZ, FREE_BURST)
        self._most = Bucket(MOST_HZ, MOST_BURST)
        self._cookies = Cookies(entropy)
        self._stamp = 0
        self.counts: Counter[str] = Counter(dict.fromkeys(REASONS, 0))

    # ---- who the peers are ----------------------------------------------------------

    def put_peer(
        self, peer_id: str, public: bytes, psk: bytes, offer: Offer, ways: tuple[Way, ...], now_ns: int
    ) -> None:
        """A peer, or what is new of it. A handshake with a new one begins at once; one
        that goes on does so on new ways at once."""
        peer = self._peers.get(peer_id)
        if peer is None or (peer.public, peer.psk) != (public, psk):
            peer = _Peer(peer_id, public, psk, Receiver(public), offer, due_ns=now_ns)
            self._peers[peer_id] = peer
        peer.offer = offer
        if peer.attempt is not None and set(ways) - set(peer.ways):
            peer.attempt.due_ns = now_ns
        peer.ways = ways
        peer.cookies = {way: cookie for way, cookie in peer.cookies.items() if way in ways}

    def remove_peer(self, peer_id: str) -> None:
        self._peers.pop(peer_id, None)

    def resume(self, peer_id: str, made_ns: int) -> None:
        """A session of this age is there already: it is renewed when it is due."""
        self._peers[peer_id].due_ns = made_ns + self._rekey_ns

    def confirmed(self, peer_id: str, now_ns: int) -> None:
        """The peer has used the session that it began: all is well."""
        peer = self._peers[peer_id]
        peer.attempt, peer.unheard = None, False
        # It is the peer's to renew it; ours only if it does not.
        peer.due_ns = now_ns + self._rekey_ns + self._rekey_ns // 12

    def begin(self, peer_id: str, now_ns: int) -> None:
        """The session seems dead: another is wanted now. At most one every five seconds
        comes of it, however often it is asked for."""
        peer = self._peers[peer_id]
        if peer.attempt is None:
            peer.due_ns = min(peer.due_ns, max(now_ns, peer.agreed_ns + LAST_RETRY_NS))

    def tries(self, peer_id: str) -> int:
        """How often it was asked for the session that is wanted now; 0: none is."""
        attempt = self._peers[peer_id].attempt
        return attempt.tries if attempt else 0

    # ---- time -----------------------------------------------------------------------

    def next_due_ns(self, otherwise_ns: int) -> int:
        due = (_due_ns(peer) for peer in self._peers.values() if peer.ways)
        return min(due, default=otherwise_ns)

    def tick(self, now_ns: int, wall_ns: int) -> list[Action]:
        """What is due. `wall_ns`: the time of day, for stamps that outlive a restart."""
        actions: list[Action] = []
        for peer in self._peers.values():
            # Who has no way to a peer waits for it.
            if not peer.ways or _due_ns(peer) > now_ns:
                continue
            attempt = peer.attempt
            if attempt is None or now_ns - attempt.made_ns >= INITIATION_LIFE_NS:
                attempt = self._new_attempt(peer, now_ns, wall_ns)
            actions += self._send(peer, attempt, now_ns)
        return actions

    def _new_attempt(self, peer: _Peer, now_ns: int, wall_ns: int) -> _Attempt:
        self._stamp = max(self._stamp + 1, wall_ns)
        noise = Initiator(self._own.private, peer.public, peer.psk, self._entropy(32), PROLOGUE)
        index = int.from_bytes(self._entropy(4), "big")
        body = peer.receiver.initiation(index, noise.write(messages.timed_offer(self._stamp, peer.offer)))
        attempt = _Attempt(noise, index, body, now_ns, now_ns)
        if peer.attempt is not None:
            before = peer.attempt
            attempt.began_ns, attempt.pause_ns = before.began_ns, before.pause_ns
            attempt.tries = before.tries
        peer.attempt = attempt
        return attempt

    def _send(self, peer: _Peer, attempt: _Attempt, now_ns: int) -> list[Action]:
        attempt.sent_ns, attempt.due_ns = now_ns, now_ns + attempt.pause_ns
        attempt.pause_ns = min(2 * attempt.pause_ns, LAST_RETRY_NS)
        attempt.tries += 1
        return [self._initiation(peer, attempt, way, now_ns) for way in peer.ways]

    def _initiation(self, peer: _Peer, attempt: _Attempt, way: Way, now_ns: int) -> Send:
        cookie, got_ns = peer.cookies.get(way, (None, 0))
        fresh = cookie if now_ns - got_ns < SECRET_LIFE_NS else None
        return Send(way, peer.receiver.tag, messages.with_mac2(attempt.body, fresh))

    # ---- what comes in --------------------------------------------------------------

    def receive(self, body: bytes, way: Way, now_ns: int) -> list[Action]:
        """A message that came on `way`."""
        kind = messages.kind_of(body)
        if kind is None:
            return self._drop("handshake_malformed")
        if kind == messages.COOKIE:
            return self._take_cookie(body, way, now_ns)
        if not self._receiver.is_meant(body):
            return self._drop("handshake_bad_mac1")
        if kind == messages.RESPONSE:
            return self._take_response(body, now_ns)
        return self._take_initiation(body, way, now_ns)

    def _drop(self, reason: str) -> list[Action]:
        self.counts[reason] += 1
        return []

    def _take_initiation(self, body: bytes, way: Way, now_ns: int) -> list[Action]:
        digest = hashlib.blake2s(body[: -2 * MAC_BYTES]).digest()
        known = next((peer for peer in self._peers.values() if peer.taken == digest), None)
        if known is not None:
            return self._repeat(known, way, now_ns)
        if not self._free.take(now_ns):
            if not messages.has_mac2(body, self._cookies.of(way.source, now_ns)):
                return self._give_cookie(body, way, now_ns)
            if not self._most.take(now_ns):
                return self._drop("handshake_overload")
        noise = Responder(self._own.private, self._entropy(32), PROLOGUE)
        try:
            public = noise.read_identity(messages.noise_of(body))
            peer = next((peer for peer in self._peers.values() if peer.public == public), None)
            if peer is None:
                return self._drop("handshake_unknown_peer")
            payload = messages.parse_timed_offer(noise.read_payload(messages.noise_of(body)))
        except NoiseError:
            return self._drop("handshake_failed")
        if payload is None:
            return self._drop("handshake_malformed")
        stamp, offer = payload
        if stamp <= peer.newest:
            return self._drop("handshake_replayed")
        attempt = peer.attempt
        if attempt is not None and self._goes_first(peer, attempt, now_ns):
            self.counts["handshake_crossed"] += 1
            return self._send(peer, attempt, now_ns) if now_ns - attempt.sent_ns >= SPACING_NS else []
        peer.newest, peer.taken = stamp, digest
        return self._answer(peer, noise, messages.sender_of(body), offer, way, now_ns)

    def _goes_first(self, peer: _Peer, attempt: _Attempt, now_ns: int) -> bool:
        """Is our initiation, which is on its way too, the one to be answered?"""
        return self._own.public < peer.public and now_ns - attempt.began_ns < CROSSING_NS

    def _repeat(self, peer: _Peer, way: Way, now_ns: int) -> list[Action]:
        """The initiation that was answered, again: its answer may have been lost, or this
        came by another of the peer's links."""
        self.counts["handshake_repeated"] += 1
        found: list[Action] = self._answer_stray(peer, way, now_ns)
        if now_ns - peer.answered_ns < SPACING_NS:
            return found
        peer.answered_ns = now_ns
        return [*found, *(Send(known, peer.receiver.tag, peer.answer) for known in peer.ways)]

    def _answer_stray(self, peer: _Peer, way: Way, now_ns: int) -> list[Action]:
        """To where an initiation came from, if the peer is not known to be there: it may be
        behind a NAT, or have no endpoints here. It authenticates, and the answer is the
        shorter one; but anybody can repeat it, so few places get one, seldom, and none any
        more once the peer has used the session."""
        before_ns = peer.answered.get(way)
        if (
            not peer.unheard
            or way in peer.ways
            or (before_ns is not None and now_ns - before_ns < SPACING_NS)
        ):
            return []
        if before_ns is None and len(peer.answered) >= MOST_STRAYS:
            return []
        peer.answered[way] = now_ns
        return [Send(way, peer.receiver.tag, peer.answer)]

    def _answer(
        self, peer: _Peer, noise: Responder, to: int, offer: Offer, way: Way, now_ns: int
    ) -> list[Action]:
        text, sending, receiving = noise.write(peer.offer.packed(), peer.psk)
        index = int.from_bytes(self._entropy(4), "big")
        peer.answer = peer.receiver.response(index, to, text)
        peer.answered_ns = peer.agreed_ns = now_ns
        # Should the session not come to life, it is ours to try.
        if peer.attempt is not None:
            peer.attempt.due_ns = max(peer.attempt.due_ns, now_ns + CROSSING_NS)
        else:
            peer.due_ns = now_ns + LAST_RETRY_NS
        self.counts["handshake_answered"] += 1
        agreed = Agreed(peer.id, from_keys(sending, receiving), False, offer)
        peer.answered, peer.unheard = {}, True
        sent = [Send(known, peer.receiver.tag, peer.answer) for known in peer.ways]
        return [agreed, *sent, *self._answer_stray(peer, way, now_ns)]

    def _asked(self, index: int) -> tuple[_Peer, _Attempt] | None:
        for peer in self._peers.values():
            if peer.attempt is not None and peer.attempt.index == index:
                return peer, peer.attempt
        return None

    def _take_response(self, body: bytes, now_ns: int) -> list[Action]:
        asked = self._asked(messages.receiver_of(body))
        if asked is None:
            return self._drop("handshake_unasked")
        peer, attempt = asked
        try:
            payload, sending, receiving = attempt.noise.read(messages.noise_of(body))
        except NoiseError:
            return self._drop("handshake_failed")
        offer = Offer.parse(payload)
        if offer is None:
            return self._drop("handshake_malformed")
        peer.attempt = None
        peer.agreed_ns = now_ns
        peer.due_ns = now_ns + self._rekey_ns
        self.counts["handshake_completed"] += 1
        return [Agreed(peer.id, from_keys(sending, receiving), True, offer)]

    # ---- under load -----------------------------------------------------------------

    def _give_cookie(self, body: bytes, way: Way, now_ns: int) -> list[Action]:
        # The initiation is not opened, so who sent it is known by its way alone; to a
        # stranger's address nothing goes.
        tag = next((peer.receiver.tag for peer in self._peers.values() if way in peer.ways), None)
        if tag is None:
            return self._drop("handshake_overload")
        self.counts["handshake_cookie_sent"] += 1
        cookie = self._cookies.of(way.source, now_ns)
        index, mac1 = messages.sender_of(body), messages.mac1_of(body)
        return [Send(way, tag, self._receiver.cookie(index, self._entropy(24), cookie, mac1))]

    def _take_cookie(self, body: bytes, way: Way, now_ns: int) -> list[Action]:
        asked = self._asked(messages.sender_of(body))
        if asked is None or way not in asked[0].ways:
            return self._drop("handshake_unasked")
        peer, attempt = asked
        cookie = peer.receiver.open_cookie(body, attempt.body[-MAC_BYTES:])
        if cookie is None:
            return self._drop("handshake_failed")
        self.counts["handshake_cookie_taken"] += 1
        peer.cookies[way] = (cookie, now_ns)
        return [self._initiation(peer, attempt, way, now_ns)]
