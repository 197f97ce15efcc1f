"""The handshake's messages: what follows the bond's header on the wire. Pure.

    initiation  kind 1, 3 x 0, sender's index, Noise's first message, mac1, mac2
    response    kind 2, 3 x 0, sender's index, receiver's index, Noise's second message, mac1
    cookie      kind 3, 3 x 0, receiver's index, nonce, sealed cookie

As WireGuard has it (its paper, section 5.4): mac1 is keyed with the receiver's public
key, so that nobody is answered who does not know it; mac2 with a cookie, which only who
receives at the address he sends from can have. A response is shorter than its
initiation, and so is a cookie.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from dataclasses import dataclass
from enum import IntFlag

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from mpbond.noise import INITIATION_OVERHEAD, RESPONSE_OVERHEAD

PROLOGUE = b"mpbond handshake 1"
INITIATION, RESPONSE, COOKIE = 1, 2, 3
MAC_BYTES = 16
COOKIE_BYTES = 16
_NONCE_BYTES = 24
_HEAD = struct.Struct("!B3xI")
_INDEX = struct.Struct("!I")
_OFFER = struct.Struct("!BxHII")
_TIMED = struct.Struct("!Q")
_VERSION = 1
# With room for what later versions say behind ours.
MAX_BODY = 400


class Feature(IntFlag):
    """What an end can do beyond the plain header. REPORTS: it takes control frames."""

    NONE = 0
    COPIES = 1 << 0
    REPORTS = 1 << 1


@dataclass(frozen=True, slots=True)
class Offer:
    """What an end says of itself. `connections`: how many it wants on each path;
    `max_recv_kbps`: what it wants to receive at most, KiB/s, 0 for no limit."""

    connections: int = 1
    features: Feature = Feature.NONE
    max_recv_kbps: int = 0

    def packed(self) -> bytes:
        return _OFFER.pack(_VERSION, self.connections, self.features, self.max_recv_kbps)

    @classmethod
    def parse(cls, payload: bytes) -> Offer | None:
        """None where it is too short. What a later version adds behind it is not read."""
        if len(payload) < _OFFER.size:
            return None
        _, connections, features, max_recv_kbps = _OFFER.unpack_from(payload)
        return cls(connections, Feature(features), max_recv_kbps)


def timed_offer(timestamp: int, offer: Offer) -> bytes:
    """An initiation's payload. `timestamp`: newer than that of the one before."""
    return _TIMED.pack(timestamp) + offer.packed()


def parse_timed_offer(payload: bytes) -> tuple[int, Offer] | None:
    offer = Offer.parse(payload[_TIMED.size :])
    return None if offer is None else (_TIMED.unpack_from(payload)[0], offer)


def _derived(label: bytes, public: bytes, size: int) -> bytes:
    return hashlib.blake2s(public, digest_size=size, person=label).digest()


def tag_of(public: bytes) -> bytes:
    """What stands in the place of a session number in messages to the owner of a public
    key: the kernel passes nothing else on to the controller."""
    return _derived(b"mp-tag", public, 8)


def _mac(key: bytes, data: bytes) -> bytes:
    return hashlib.blake2s(data, key=key, digest_size=MAC_BYTES).digest()


class Receiver:
    """What messages to one public key are sealed and checked with."""

    def __init__(self, public: bytes) -> None:
        self._mac1_key = _derived(b"mp-mac1", public, 32)
        self._cookie_key = _derived(b"mp-cooki", public, 32)
        self.tag = tag_of(public)

    def mac1(self, message: bytes) -> bytes:
        return _mac(self._mac1_key, message)

    def initiation(self, index: int, noise: bytes) -> bytes:
        """Up to and with mac1; mac2 depends on the way that it goes."""
        message = _HEAD.pack(INITIATION, index) + noise
        return message + self.mac1(message)

    def response(self, index: int, to: int, noise: bytes) -> bytes:
        message = _HEAD.pack(RESPONSE, index) + _INDEX.pack(to) + noise
        return message + self.mac1(message)

    def is_meant(self, body: bytes) -> bool:
        """Has the message mac1 of this key?"""
        end = _signed_end(body)
        return end > 0 and hmac.compare_digest(self.mac1(body[:end]), body[end : end + MAC_BYTES])

    def _seal(self, nonce: bytes) -> ChaCha20Poly1305:
        return ChaCha20Poly1305(hashlib.blake2s(nonce, key=self._cookie_key).digest())

    def cookie(self, to: int, nonce: bytes, cookie: bytes, mac1: bytes) -> bytes:
        """From the owner of the key, bound to the initiation that it answers."""
        sealed = self._seal(nonce).encrypt(bytes(12), cookie, mac1)
        return _HEAD.pack(COOKIE, to) + nonce + sealed

    def open_cookie(self, body: bytes, mac1: bytes) -> bytes | None:
        nonce, sealed = body[_HEAD.size : _HEAD.size + _NONCE_BYTES], body[_HEAD.size + _NONCE_BYTES :]
        try:
            return self._seal(nonce).decrypt(bytes(12), sealed, mac1)
        except InvalidTag:
            return None


def with_mac2(initiation: bytes, cookie: bytes | None) -> bytes:
    """An initiation whole: 16 zero bytes where there is no cookie for its way."""
    return initiation + (_mac(cookie, initiation) if cookie else bytes(MAC_BYTES))


def has_mac2(body: bytes, cookie: bytes) -> bool:
    return hmac.compare_digest(body[-MAC_BYTES:], _mac(cookie, body[:-MAC_BYTES]))


def _signed_end(body: bytes) -> int:
    """Where mac1 begins; 0 in messages without one."""
    return len(body) - {INITIATION: 2 * MAC_BYTES, RESPONSE: MAC_BYTES}.get(body[0], len(body))


_SHORTEST = {
    INITIATION: _HEAD.size + INITIATION_OVERHEAD + 2 * MAC_BYTES,
    RESPONSE: _HEAD.size + _INDEX.size + RESPONSE_OVERHEAD + MAC_BYTES,
    COOKIE: _HEAD.size + _NONCE_BYTES + COOKIE_BYTES + 16,
}


def kind_of(body: bytes) -> int | None:
    """None of what is no message of ours: too short, too long, unknown."""
    if not body or len(body) > MAX_BODY or len(body) < _SHORTEST.get(body[0], MAX_BODY + 1):
        return None
    return body[0]


def sender_of(body: bytes) -> int:
    """The sender's index of an initiation or a response, the receiver's of a cookie."""
    return int(_HEAD.unpack_from(body)[1])


def receiver_of(response: bytes) -> int:
    return int(_INDEX.unpack_from(response, _HEAD.size)[0])


def noise_of(body: bytes) -> bytes:
    """Noise's part of an initiation or a response."""
    start = _HEAD.size + (_INDEX.size if body[0] == RESPONSE else 0)
    return body[start : _signed_end(body)]


def mac1_of(initiation: bytes) -> bytes:
    return initiation[-2 * MAC_BYTES : -MAC_BYTES]
