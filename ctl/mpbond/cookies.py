"""Against floods of initiations: cookies, and buckets of tokens. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from mpbond.handshake_messages import COOKIE_BYTES

SECRET_LIFE_NS = 120_000_000_000


class Bucket:
    """`rate_hz` tokens a second, `burst` at most."""

    def __init__(self, rate_hz: float, burst: int) -> None:
        self._rate_hz, self._burst = rate_hz, burst
        self._tokens = float(burst)
        self._at_ns = 0

    def take(self, now_ns: int) -> bool:
        grown = max(0, now_ns - self._at_ns) / 1e9 * self._rate_hz
        self._tokens = min(self._burst, self._tokens + grown)
        self._at_ns = now_ns
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Cookies:
    """Cookies that we give out: a MAC of the address that asked, under a secret that is
    renewed; nothing is remembered of who asked."""

    def __init__(self, entropy: Callable[[int], bytes]) -> None:
        self._entropy = entropy
        self._secret = b""
        self._made_ns = 0

    def of(self, address: bytes, now_ns: int) -> bytes:
        if not self._secret or now_ns - self._made_ns > SECRET_LIFE_NS:
            self._secret, self._made_ns = self._entropy(32), now_ns
        return hashlib.blake2s(address, key=self._secret, digest_size=COOKIE_BYTES).digest()
