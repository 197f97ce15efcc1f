"""Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s: the Noise specification, revision 34.

    <- s
    ...
    -> e, es, s, ss
    <- e, ee, se, psk

The initiator knows the responder's public key, the responder learns the initiator's
from the first message. X25519 and ChaCha20-Poly1305 are `cryptography`'s, BLAKE2s is
Python's. Pure but for the primitives: ephemeral keys are handed in.
"""

from __future__ import annotations

import hashlib
import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

PROTOCOL = b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
DH_BYTES = 32
TAG_BYTES = 16
# What the two messages are longer than their payloads.
INITIATION_OVERHEAD = DH_BYTES + (DH_BYTES + TAG_BYTES) + TAG_BYTES
RESPONSE_OVERHEAD = DH_BYTES + TAG_BYTES


class NoiseError(Exception):
    """A message that does not authenticate: damaged, forged, or meant for another key."""


def public_key(private: bytes) -> bytes:
    """The public key, 32 bytes, of a private one."""
    point = X25519PrivateKey.from_private_bytes(private).public_key()
    return point.public_bytes(Encoding.Raw, PublicFormat.Raw)


def _dh(private: bytes, public: bytes) -> bytes:
    try:
        return X25519PrivateKey.from_private_bytes(private).exchange(
            X25519PublicKey.from_public_bytes(public)
        )
    except ValueError:  # a point of low order: no secret comes of it
        raise NoiseError("a public key without a secret") from None


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "blake2s")


def _hkdf(chaining_key: bytes, material: bytes, count: int) -> list[bytes]:
    """The specification's HKDF: `count` outputs of 32 bytes."""
    secret = _hmac(chaining_key, material)
    outputs = [b""]
    for number in range(1, count + 1):
        outputs.append(_hmac(secret, outputs[-1] + bytes([number])))
    return outputs[1:]


class _Symmetric:
    """SymmetricState and the CipherState in it. The key changes with every DH, so the
    nonce counts messages under one key only."""

    def __init__(self, prologue: bytes, responder_public: bytes) -> None:
        self._hash = hashlib.blake2s(PROTOCOL).digest()
        self._chaining = self._hash
        self._key = b""
        self._nonce = 0
        self.mix_hash(prologue)
        self.mix_hash(responder_public)

    def mix_hash(self, data: bytes) -> None:
        self._hash = hashlib.blake2s(self._hash + data).digest()

    def mix_key(self, material: bytes) -> None:
        self._chaining, self._key = _hkdf(self._chaining, material, 2)
        self._nonce = 0

    def mix_psk(self, psk: bytes) -> None:
        self._chaining, mixed, self._key = _hkdf(self._chaining, psk, 3)
        self.mix_hash(mixed)
        self._nonce = 0

    def mix_ephemeral(self, public: bytes) -> None:
        """The token e, as patterns with a pre-shared key have it."""
        self.mix_hash(public)
        self.mix_key(public)

    def _next_nonce(self) -> bytes:
        nonce = bytes(4) + self._nonce.to_bytes(8, "little")
        self._nonce += 1
        return nonce

    def encrypt(self, plain: bytes) -> bytes:
        sealed = ChaCha20Poly1305(self._key).encrypt(self._next_nonce(), plain, self._hash)
        self.mix_hash(sealed)
        return sealed

    def decrypt(self, sealed: bytes) -> bytes:
        try:
            plain = ChaCha20Poly1305(self._key).decrypt(self._next_nonce(), sealed, self._hash)
        except InvalidTag:
            raise NoiseError("does not authenticate") from None
        self.mix_hash(sealed)
        return plain

    def split(self) -> tuple[bytes, bytes]:
        """(key of what the initiator sends, key of what the responder sends)."""
        first, second = _hkdf(self._chaining, b"", 2)
        return first, second


class Initiator:
    """One handshake of ours: `write` the first message, then `read` the answer."""

    def __init__(
        self, private: bytes, responder_public: bytes, psk: bytes, ephemeral: bytes, prologue: bytes
    ) -> None:
        self._private, self._psk, self._ephemeral = private, psk, ephemeral
        self._remote = responder_public
        self._state = _Symmetric(prologue, responder_public)

    def write(self, payload: bytes) -> bytes:
        state, ephemeral = self._state, public_key(self._ephemeral)
        state.mix_ephemeral(ephemeral)
        state.mix_key(_dh(self._ephemeral, self._remote))
        static = state.encrypt(public_key(self._private))
        state.mix_key(_dh(self._private, self._remote))
        return ephemeral + static + state.encrypt(payload)

    def read(self, message: bytes) -> tuple[bytes, bytes, bytes]:
        """(payload, key for sending, key for receiving). Raises NoiseError, and can then
        read another message: what was forged does not end the handshake."""
        remote = message[:DH_BYTES]
        if len(message) < RESPONSE_OVERHEAD:
            raise NoiseError("too short")
        state = self._copy()
        state.mix_ephemeral(remote)
        state.mix_key(_dh(self._ephemeral, remote))
        state.mix_key(_dh(self._private, remote))
        state.mix_psk(self._psk)
        payload = state.decrypt(message[DH_BYTES:])
        return payload, *state.split()

    def _copy(self) -> _Symmetric:
        state = _Symmetric.__new__(_Symmetric)
        state.__dict__.update(self._state.__dict__)
        return state


class Responder:
    """One handshake of a peer's: `read` the first message, which says who it is, then
    `write` the answer with that peer's pre-shared key (32 zero bytes: none)."""

    def __init__(self, private: bytes, ephemeral: bytes, prologue: bytes) -> None:
        self._private, self._ephemeral = private, ephemeral
        self._state = _Symmetric(prologue, public_key(private))
        self._remote_ephemeral = b""
        self.remote = b""

    def read_identity(self, message: bytes) -> bytes:
        """The initiator's public key, not yet proved; `read_payload` proves it."""
        if len(message) < INITIATION_OVERHEAD:
            raise NoiseError("too short")
        state = self._state
        self._remote_ephemeral = message[:DH_BYTES]
        state.mix_ephemeral(self._remote_ephemeral)
        state.mix_key(_dh(self._private, self._remote_ephemeral))
        self.remote = state.decrypt(message[DH_BYTES : 2 * DH_BYTES + TAG_BYTES])
        return self.remote

    def read_payload(self, message: bytes) -> bytes:
        state = self._state
        state.mix_key(_dh(self._private, self.remote))
        return state.decrypt(message[2 * DH_BYTES + TAG_BYTES :])

    def write(self, payload: bytes, psk: bytes) -> tuple[bytes, bytes, bytes]:
        """(message, key for sending, key for receiving)."""
        state, ephemeral = self._state, public_key(self._ephemeral)
        state.mix_ephemeral(ephemeral)
        state.mix_key(_dh(self._ephemeral, self._remote_ephemeral))
        state.mix_key(_dh(self._ephemeral, self.remote))
        state.mix_psk(psk)
        message = ephemeral + state.encrypt(payload)
        receiving, sending = state.split()
        return message, sending, receiving
