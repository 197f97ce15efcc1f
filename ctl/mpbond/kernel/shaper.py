"""mp0's queue: a class of its own for each peer that has a rate for sending.

HTB without borrowing; what has no class goes out at once. A full class is full: a
local sender waits, as its socket's buffer is full then; a forwarded packet is dropped
and counted in the class. The program at mp0's egress chooses the class, by
skb->priority.

By iproute2's `tc`: pyroute2 has no size tables (stab).
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from mpbond.errors import BondError
from mpbond.limits import KIB

_MAJOR = 9
_HANDLE = f"{_MAJOR}:"
# A rate counts what IP carries: neither mp0's Ethernet header nor that of IPv4.
_OVERHEAD = -(14 + 20)
# At a rate's own pace for so long at most; enough for a few super-packets.
_BURST_S = 0.02
_BURST_LEAST_BYTES = 64 * KIB
# Of who has no limit any more: what waits goes at once, and nothing is dropped by
# taking the class away.
_FREE_BYTES_PER_S = 4_000_000_000
_TC_TIMEOUT_S = 20
# `tc` has no JSON of classes.
_CLASS = re.compile(rf"class htb {_HANDLE}(\w+).*?dropped (\d+),.*?backlog (\d+)b", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Waiting:
    """In one class: bytes that wait, packets dropped as nothing more could."""

    backlog_bytes: int
    dropped: int


def class_of(bond: int) -> int:
    """As in skb->priority."""
    return _MAJOR << 16 | bond + 1


class Shaper:
    """Of one mp0. `rates`: by bond, KiB/s, as they are in the kernel."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.rates: dict[int, int] = {}

    def set(self, wanted: Mapping[int, int]) -> None:
        """Rates by bond, KiB/s; a bond that is not named has none."""
        if wanted == self.rates:
            return
        lines = [] if self.rates or self._is_there() else [f"qdisc add {self._root()}"]
        lines += [
            self._class(bond, kbps * KIB) for bond, kbps in wanted.items() if self.rates.get(bond) != kbps
        ]
        lines += [self._class(bond, _FREE_BYTES_PER_S) for bond in self.rates.keys() - wanted.keys()]
        self._tc("-batch", "-", text="\n".join(lines))
        self.rates = dict(wanted)

    def waiting(self) -> dict[int, Waiting]:
        """By bond; nothing where there is no limit."""
        if not self.rates:
            return {}
        shown = self._tc("-s", "class", "show", "dev", self._name)
        return {
            int(minor, 16) - 1: Waiting(int(backlog), int(dropped))
            for minor, dropped, backlog in _CLASS.findall(shown)
        }

    def _root(self) -> str:
        return f"dev {self._name} root handle {_HANDLE} stab overhead {_OVERHEAD} htb default 0"

    def _class(self, bond: int, bytes_per_s: int) -> str:
        burst = max(_BURST_LEAST_BYTES, round(bytes_per_s * _BURST_S))
        return (
            f"class replace dev {self._name} parent {_HANDLE} classid {_HANDLE}{bond + 1:x} htb "
            f"rate {bytes_per_s}bps burst {burst}b cburst {burst}b quantum {_BURST_LEAST_BYTES}"
        )

    def _is_there(self) -> bool:
        """After an earlier controller."""
        return f"qdisc htb {_HANDLE} root" in self._tc("qdisc", "show", "dev", self._name)

    def _tc(self, *words: str, text: str = "") -> str:
        try:
            done = subprocess.run(
                ["tc", *words], input=text, capture_output=True, text=True, timeout=_TC_TIMEOUT_S, check=False
            )
        except FileNotFoundError as error:
            raise BondError("limiting rates: tc is not installed; it is in iproute2") from error
        if done.returncode:
            raise BondError(f"limiting rates on {self._name}: {done.stderr.strip() or 'tc failed'}")
        return done.stdout
