"""Control frames sealed: ChaCha20-Poly1305 (RFC 8439) under a session's control keys. Pure.

    bond header | counter, 8 bytes | sealed text | tag, 16 bytes

The nonce is the counter, as Noise has it: four zero bytes, then 64 bits in little
endian; it is on the wire in network order. The header is authenticated with the text.
Each direction has a key of its own, new with every session, so no nonce is used twice.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from mpbond.control_frames import COUNTER_BYTES, TAG_BYTES, ControlError

# Frames that may come later than a newer one; paths differ by hundreds of ms.
WINDOW = 256


def _nonce(counter: int) -> bytes:
    return bytes(4) + counter.to_bytes(8, "little")


class Sealer:
    """What is sent under one session."""

    def __init__(self, key: bytes) -> None:
        self._cipher = ChaCha20Poly1305(key)
        self._counter = 0

    def seal(self, header: bytes, text: bytes) -> bytes:
        """The frame, header included."""
        counter, self._counter = self._counter, self._counter + 1
        sealed = self._cipher.encrypt(_nonce(counter), text, header)
        return header + counter.to_bytes(COUNTER_BYTES, "big") + sealed


class Opener:
    """What is received under one session: each frame once, none older than the window."""

    def __init__(self, key: bytes) -> None:
        self._cipher = ChaCha20Poly1305(key)
        self._next = 0
        self._seen = 0  # bit n: frame number _next - 1 - n has come

    def open(self, header: bytes, body: bytes) -> bytes:
        """The text of a frame, `body` being what follows its header. Raises ControlError;
        only what authenticates is noted as seen."""
        if len(body) < COUNTER_BYTES + TAG_BYTES:
            raise ControlError("control_failed")
        counter = int.from_bytes(body[:COUNTER_BYTES], "big")
        if self._is_old(counter):
            raise ControlError("control_replayed")
        try:
            text = self._cipher.decrypt(_nonce(counter), body[COUNTER_BYTES:], header)
        except InvalidTag:
            raise ControlError("control_failed") from None
        self._note(counter)
        return text

    def _is_old(self, counter: int) -> bool:
        behind = self._next - 1 - counter
        return behind >= WINDOW or (behind >= 0 and bool(self._seen >> behind & 1))

    def _note(self, counter: int) -> None:
        ahead = counter + 1 - self._next
        if ahead > 0:
            # A leap of 2^64 must not make a number of as many bits.
            self._seen = self._seen << min(ahead, WINDOW) & ((1 << WINDOW) - 1)
            self._next += ahead
        self._seen |= 1 << self._next - 1 - counter
