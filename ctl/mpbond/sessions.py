"""Session numbers and probe keys from a peer's shared 256-bit key. Pure.

Both ends derive the same two sets, one per direction, from the key and the two
node ids: BLAKE2b keyed with the shared key (RFC 7693), as a KDF. Whoever does
not have the key can neither guess a session number nor make a probe.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from dataclasses import dataclass

KEY_BYTES = 32
_PERSON = b"mpbond-session-1"


@dataclass(frozen=True, slots=True)
class Session:
    """One direction: 64-bit number as on the wire (8 bytes), 128-bit MAC key."""

    number: bytes
    mac_key: bytes


@dataclass(frozen=True, slots=True)
class SessionPair:
    tx: Session
    rx: Session


def _derive(key: bytes, sender: str, receiver: str) -> Session:
    label = f"{sender}>{receiver}".encode()
    digest = hashlib.blake2b(label, key=key, person=_PERSON, digest_size=24).digest()
    return Session(number=digest[:8], mac_key=digest[8:])


def derive(key: bytes, own_id: str, peer_id: str) -> SessionPair:
    """The two directions between `own_id` and `peer_id` under a 32-byte key."""
    return SessionPair(tx=_derive(key, own_id, peer_id), rx=_derive(key, peer_id, own_id))


def new_key() -> str:
    """A fresh key as the text of a key file: base64 on one line."""
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode() + "\n"


def parse_key(text: str) -> bytes:
    """The key in a key file: base64 of 32 bytes, or 64 hex digits.

    Raises ValueError with what was found.
    """
    word = text.strip()
    try:
        key = bytes.fromhex(word) if len(word) == 2 * KEY_BYTES else base64.b64decode(word, validate=True)
    except (ValueError, binascii.Error):
        raise ValueError("neither base64 nor hex") from None
    if len(key) != KEY_BYTES:
        raise ValueError(f"{len(key)} bytes")
    return key
