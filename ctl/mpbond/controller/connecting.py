"""Connections of all bonds: as agreed on, brought up, listed; which carries metadata.

The rules are in connections.py. All calls come under the controller's lock; the clock
is read nowhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from mpbond import abi, connections
from mpbond.connections import Growth, Wishes
from mpbond.controller.bond import BondState
from mpbond.controller.sourceports import SourcePorts
from mpbond.events import History, Kind
from mpbond.kernel.dataplane import Dataplane


@dataclass(slots=True)
class _Bond:
    """`begun`: it has, or had, a session. `refuses`, `refused`: the log knows of packets on
    connections not agreed on, of the peer's here or of ours there."""

    peer: str
    growth: Growth = field(default_factory=Growth)
    wishes: Wishes | None = None
    metadata: int | None = None
    begun: bool = False
    refuses: bool = False
    refused: bool = False


class Connecting:
    """Of one controller. `ports` is made when a second connection is wanted."""

    def __init__(self, plane: Dataplane, history: History) -> None:
        self._plane = plane
        self._history = history
        self._bonds: dict[int, _Bond] = {}
        self._counts: Counter[str] = Counter(dict.fromkeys(connections.REASONS, 0))
        self._ports: SourcePorts | None = None
        self._paths = np.zeros(0, np.int64)

    # ---- what there is ----------------------------------------------------------------

    def follow(self, states: dict[int, BondState]) -> None:
        """The bonds there are now, and their paths."""
        before = self._bonds
        self._bonds = {}
        for index, state in states.items():
            bond = before.get(index)
            if bond is None or bond.peer != state.spec.peer.id:
                bond = self._found(index, state)
            self._bonds[index] = bond
            known = {path: max(1, int(self._plane.paths["connections"][path])) for path in state.health}
            standby = [state.index_of(path) for path in state.spec.paths if path.standby]
            carrying = sorted(state.health.keys() - set(standby))
            bond.growth.follow(carrying, standby, known)
            self._write(bond)
        self._paths = np.array([path for bond in self._bonds.values() for path in bond.growth.counts], int)

    def _found(self, index: int, state: BondState) -> _Bond:
        """New here; an earlier controller may have left it a session, and a path for
        metadata."""
        bond = _Bond(state.spec.peer.id)
        if any(self._plane.sessions.sending(index)):
            sessions = self._plane.sessions.receiving(index)
            heard = [one for one in sessions if one.heard] or sessions
            bond.begun = True
            bond.growth.agreed = max([1, *(one.connections for one in heard[-1:])])
        left = int(self._plane.bonds["metadata_path"][index])
        bond.metadata = left if left in state.health else None
        return bond

    def take_session(self, index: int, wishes: Wishes, now_ns: int, switch: Callable[[], None]) -> None:
        """A new session is to be sent under from `switch` on. The peer counts by sessions:
        so there are fewer connections before it, more after it."""
        bond = self._bonds[index]
        bond.growth.agree(wishes.agreed, now_ns, at_once=False)
        self._write(bond)
        switch()
        bond.growth.agree(wishes.agreed, now_ns, at_once=not bond.begun)
        bond.begun = True
        self._write(bond)
        if bond.wishes != wishes:
            self._tell(bond, wishes, now_ns)
        bond.wishes = wishes

    def assigned(self, state: BondState, now_ns: int) -> None:
        """Which paths are eligible has changed, perhaps: the metadata's too?"""
        bond = self._bonds[state.spec.index]
        chosen = connections.metadata_path(bond.metadata, state.assignment.order)
        if chosen is None or chosen == bond.metadata:
            return
        if bond.metadata is not None and chosen in state.health:
            path = state.path_at(chosen)
            place = (path.number, path.key.ifname)
            cause = f"path {bond.metadata % self._plane.block} has failed"
            self._history.add(now_ns, Kind.METADATA, bond.peer, path=place, cause=cause)
        bond.metadata = chosen
        self._plane.bonds["metadata_path"][state.spec.index] = chosen

    def tick(self, now_ns: int) -> None:
        """Connections that are due, and what is refused on either side."""
        for bond in self._bonds.values():
            if bond.growth.tick(now_ns):
                self._write(bond)
        for index in np.flatnonzero(self._plane.bonds_live["surplus"]):
            self._refuse(self._bonds.get(int(index)), now_ns)
        marks = self._plane.paths_live["peer_marks"][self._paths] & int(abi.PeerMark.SURPLUS)
        for path in self._paths[marks != 0]:
            self._hear_refusal(self._bonds[int(path) // self._plane.block], now_ns)

    def close(self) -> None:
        if self._ports is not None:
            self._ports.close()

    # ---- readings -----------------------------------------------------------------------

    def of_path(self, index: int, path: int) -> tuple[int, bool]:
        """How many connections a path has; is one of them the bond's for metadata?"""
        bond = self._bonds[index]
        return bond.growth.counts.get(path, 1), bond.metadata == path

    def agreed(self, index: int) -> int:
        """On each path of the bond."""
        return self._bonds[index].growth.agreed

    def counts(self) -> dict[str, int]:
        return dict(self._counts)

    # ---- ports and maps ------------------------------------------------------------------

    def _write(self, bond: _Bond) -> None:
        paths = self._plane.paths["connections"]
        most = max(bond.growth.counts.values(), default=1)
        if most > 1:
            most = self._reserve(most)
        for path, count in bond.growth.counts.items():
            paths[path] = min(count, most)

    def _reserve(self, count: int) -> int:
        """Ports for `count` connections are held and in the programs' table; how many it
        comes to."""
        node = self._plane.node[0]
        there = int(node["source_ports"])
        if self._ports is None:
            self._ports = SourcePorts([int(port) for port in node["source_port"][1:there]])
            there = 0
        if 1 + len(self._ports.ports) < count:
            self._ports.reserve(count - 1)
        ports = [int(node["port"]), *self._ports.ports]
        if len(ports) != there:
            node["source_port"][: len(ports)] = ports
            node["source_ports"] = len(ports)
        return min(count, len(ports))

    # ---- what is told ----------------------------------------------------------------------

    def _tell(self, bond: _Bond, wishes: Wishes, now_ns: int) -> None:
        """A change of what is agreed on, and what either end wanted in vain."""
        if bond.wishes is not None or wishes.agreed > 1:
            cause = f"{wishes.agreed} on each path (this end wants {wishes.here}, the peer {wishes.there})"
            self._history.add(now_ns, Kind.CONNECTIONS, bond.peer, cause=cause)
        self._counts["connections_denied"] += wishes.denied
        self._counts["connections_refused"] += wishes.refused
        if wishes.denied:
            cause = f"{wishes.denied} of {wishes.here} on each path, by the peer, which wants one"
            self._history.add(now_ns, Kind.REFUSED, bond.peer, cause=cause)
        if wishes.refused:
            cause = f"{wishes.refused} of the peer's {wishes.there} on each path: numConnections is one here"
            self._history.add(now_ns, Kind.REFUSED, bond.peer, cause=cause)

    def _refuse(self, bond: _Bond | None, now_ns: int) -> None:
        """The peer sends on connections that were not agreed on: said once."""
        if bond is None or bond.refuses:
            return
        bond.refuses = True
        self._counts["connections_refused"] += 1
        cause = f"packets of the peer's dropped: on more than the {bond.growth.agreed} agreed on for a path"
        self._history.add(now_ns, Kind.REFUSED, bond.peer, cause=cause)

    def _hear_refusal(self, bond: _Bond, now_ns: int) -> None:
        """The same there."""
        if bond.refused:
            return
        bond.refused = True
        self._counts["connections_denied"] += 1
        cause = "the peer drops packets of ours: on more than it has agreed on"
        self._history.add(now_ns, Kind.REFUSED, bond.peer, cause=cause)
