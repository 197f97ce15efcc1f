"""Where paths lead, as rx has learnt it, and what came from elsewhere: read from the maps.

A path's ready-made header says what the file says. Where its peer has gone since stands in
the live part, in one of two places; see bpf/roaming.h.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mpbond import abi
from mpbond.config.model import Address
from mpbond.kernel.entries import family_code, packed, unpacked

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Arrival:
    """A checked probe of the peer's path `number`, from where no path of ours leads."""

    number: int
    ifindex: int
    local: Address
    remote: Address
    port: int


class Endpoints:
    def __init__(self, paths: Array, live: Array, fars: Array) -> None:
        self._paths, self._live, self._fars = paths, live, fars

    def moves(self, paths: Array) -> Array:
        """How often each of these paths was moved since it was made."""
        found: Array = self._live["moves"][paths]
        return found

    def moved(self, path: int) -> tuple[Address, int] | None:
        """Where its peer has gone; None where the header holds."""
        place = self._place(path)
        if place is None:
            return None
        ipv6 = int(self._paths["flags"][path]) & abi.PathFlag.IPV6
        address = unpacked(abi.AF_INET6 if ipv6 else abi.AF_INET, bytes(place["address"]))
        return address, int(place["port"])

    def set_next_hop(self, path: int, of: tuple[Address, int], next_hop: Address) -> None:
        """Of the place the path leads to now, if that is still `of`."""
        place = self._place(path)
        if place is None or self.moved(path) != of:
            return
        place["next_hop"] = np.frombuffer(packed(next_hop), np.uint8)
        place["next_hop_family"] = family_code(next_hop.version)

    def forget(self, path: int) -> None:
        """The header holds again."""
        self._paths["moved"][path] = 0

    def peer_path(self, path: int) -> int | None:
        """The peer's number of it; None where it was not heard yet."""
        found = int(self._live["peer_path"][path])
        return found - 1 if found else None

    def heard_ns(self, path: int) -> int:
        """When a probe or answer came by it last; 0 = never."""
        return int(self._live["last_in_ns"][path])

    def arrived_ns(self, first: int, count: int) -> Array:
        """Of the peer's paths, from map index `first` on: when the newest arrival was."""
        found: Array = self._fars["at_ns"][first : first + count]
        return found

    def arrival(self, first: int, number: int) -> Arrival:
        entry = self._fars[first + number]
        family = int(entry["family"])
        return Arrival(
            number,
            int(entry["ifindex"]),
            unpacked(family, bytes(entry["local"])),
            unpacked(family, bytes(entry["remote"])),
            int(entry["port"]),
        )

    def _place(self, path: int) -> Any:
        moved = int(self._paths["moved"][path])
        return self._live["moved"][path, (moved - 1) & 1] if moved else None
