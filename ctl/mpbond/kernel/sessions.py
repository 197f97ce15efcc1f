"""Sessions in the maps: what tx and probes go out under, what rx lets in.

There are two places for what is sent under, and one number that says which is in use:
so a new session is written whole and then taken with one write. What is received
under is found by its number; several are valid while one takes over from another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mpbond import abi
from mpbond.kernel.bpf import Map
from mpbond.sessions import Session, SessionPair

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class Receiving:
    """A session that the peer may send under. `heard`: it has, with a checked probe.
    `connections`: agreed on for each path; `offered`: what this end had asked for."""

    number: bytes
    bond: int
    made_ns: int
    heard: bool
    connections: int = 1
    offered: int = 1


class Sessions:
    def __init__(self, bonds: Array, receiving: Map) -> None:
        self._bonds = bonds
        self._receiving = receiving

    # ---- sending ----------------------------------------------------------------------

    def sending(self, bond: int) -> bytes:
        """The number in use, as on the wire; zeros where there is none yet."""
        entry = self._bonds[bond]
        return int(entry["tx_session"][int(entry["tx_live"]) & 1]).to_bytes(8, "little")

    def send_under(self, bond: int, session: Session) -> None:
        """From here on. What is on its way already has the session before."""
        if self.sending(bond) == session.number:
            return
        entry = self._bonds[bond]
        spare = (int(entry["tx_live"]) + 1) & 1
        entry["tx_session"][spare] = int.from_bytes(session.number, "little")
        entry["tx_mac_key"][2 * spare : 2 * spare + 2] = np.frombuffer(session.mac_key, "<u8")
        entry["tx_live"] = spare

    # ---- receiving ----------------------------------------------------------------------

    def receive_under(
        self,
        bond: int,
        session: Session,
        made_ns: int,
        after: bytes = b"",
        *,
        connections: int = 1,
        offered: int = 1,
    ) -> None:
        """Beside those that are valid. What `after`, a session of the same peer, has learnt
        of its paths goes with it; a session that is there already stays as it is."""
        if self._receiving.get(session.number) is not None:
            return
        value = np.zeros((), abi.SESSION)
        value["bond"], value["made_ns"] = bond, made_ns
        value["connections"], value["offered"] = connections, offered
        value["rx_mac_key"] = np.frombuffer(session.mac_key, "<u8")
        before = self._entry(after) if after else None
        value["local_path"] = abi.NO_PATH if before is None else before["local_path"]
        self._receiving.put(session.number, value.tobytes())

    def receiving(self, bond: int) -> list[Receiving]:
        """Those of a bond, oldest first. Walks the map: a few entries for each peer."""
        return [one for one in self._all() if one.bond == bond]

    def _all(self) -> list[Receiving]:
        found: list[Receiving] = []
        for number in self._receiving.all_keys():
            entry = self._entry(number)
            if entry is not None:
                made_ns, heard = int(entry["made_ns"]), bool(entry["heard"])
                counts = int(entry["connections"]), int(entry["offered"])
                found.append(Receiving(number, int(entry["bond"]), made_ns, heard, *counts))
        return sorted(found, key=lambda one: one.made_ns)

    def was_heard(self, number: bytes) -> bool:
        entry = self._entry(number)
        return entry is not None and bool(entry["heard"])

    def local_paths(self, number: bytes) -> dict[int, int]:
        """What the session has learnt: the peer's path numbers, and our path indices."""
        entry = self._entry(number)
        if entry is None:
            return {}
        known = np.flatnonzero(entry["local_path"] != abi.NO_PATH)
        return dict(zip(known.tolist(), entry["local_path"][known].tolist(), strict=True))

    def forget(self, number: bytes) -> None:
        self._receiving.delete(number)

    def _entry(self, number: bytes) -> Any:
        raw = self._receiving.get(number)
        return None if raw is None else np.frombuffer(raw, abi.SESSION)[0]

    # ---- both -----------------------------------------------------------------------------

    def put(self, bond: int, pair: SessionPair) -> None:
        """One that both ends have from the start, by a shared key."""
        self.receive_under(bond, pair.rx, 0)
        self.send_under(bond, pair.tx)

    def remove_all(self, bond: int) -> None:
        for one in self.receiving(bond):
            self.forget(one.number)
