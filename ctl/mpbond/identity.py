"""Who a node is: its X25519 key pair, and the id that follows from the public key. Pure."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field

from mpbond.noise import public_key

_PERSON = b"mpbondid"
_ID_BYTES = 5


def id_of(public: bytes) -> str:
    """The 10-hex-digit id that belongs to a public key: BLAKE2s-40 of it. A name, not a
    proof: what is proved in the handshake is the whole key."""
    return hashlib.blake2s(public, digest_size=_ID_BYTES, person=_PERSON).hexdigest()


@dataclass(frozen=True, slots=True)
class Identity:
    """A node's own keys, 32 bytes each."""

    private: bytes = field(repr=False)
    public: bytes
    id: str


def identity(private: bytes) -> Identity:
    public = public_key(private)
    return Identity(private, public, id_of(public))


def as_text(key: bytes) -> str:
    """A key as it is written in files."""
    return base64.b64encode(key).decode()
