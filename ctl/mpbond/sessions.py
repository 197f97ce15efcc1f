"""Session numbers, probe and control keys, from a shared key or a handshake. Pure.

Both ends derive the same two sets, one per direction: from the 256-bit key that they
share and their ids, or from the two keys that a handshake leaves them with. BLAKE2b,
keyed (RFC 7693), is the KDF. Whoever does not have the key can neither guess a session
number nor make a probe.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from dataclasses import dataclass, replace

KEY_BYTES = 32
_PERSON = b"mpbond-session-1"
_HANDSHAKE_PERSON = b"mpbond-session-2"


@dataclass(frozen=True, slots=True)
class Session:
    """One direction: 64-bit number as on the wire (8 bytes), 128-bit MAC key. Of a
    handshake a 256-bit key for control frames too; else that is empty."""

    number: bytes
    mac_key: bytes
    control_key: bytes = b""


@dataclass(frozen=True, slots=True)
class SessionPair:
    tx: Session
    rx: Session


def _session(label: bytes, key: bytes, person: bytes) -> Session:
    digest = hashlib.blake2b(label, key=key, person=person, digest_size=24).digest()
    return Session(number=digest[:8], mac_key=digest[8:])


def _derive(key: bytes, sender: str, receiver: str) -> Session:
    return _session(f"{sender}>{receiver}".encode(), key, _PERSON)


def derive(key: bytes, own_id: str, peer_id: str) -> SessionPair:
    """The two directions between `own_id` and `peer_id` under a 32-byte key."""
    return SessionPair(tx=_derive(key, own_id, peer_id), rx=_derive(key, peer_id, own_id))


def from_keys(sending: bytes, receiving: bytes) -> SessionPair:
    """The two directions of a session from its handshake's keys, 32 bytes each."""
    return SessionPair(tx=_with_control(sending), rx=_with_control(receiving))


def _with_control(key: bytes) -> Session:
    """Number and MAC key from one label, the control key from another: who learns the
    ones, which the kernel holds, learns nothing of the other."""
    control = hashlib.blake2b(b"control", key=key, person=_HANDSHAKE_PERSON, digest_size=KEY_BYTES)
    return replace(_session(b"", key, _HANDSHAKE_PERSON), control_key=control.digest())


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
