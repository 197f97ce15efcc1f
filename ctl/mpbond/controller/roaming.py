"""Follows what rx has learnt of the peers' addresses: next hops, events, paths of peers
that come by themselves. Under the controller's lock; reads no clock.

A move is in force before it is seen here. What is left to do: the way to the new address
over the path's link, the handshakes' ways, telling it. It is kept in the kernel's maps
alone, so a controller to come finds it there.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from mpbond.config.model import Address
from mpbond.events import History, Kind
from mpbond.handshake import Way
from mpbond.inventory import Inventory
from mpbond.kernel.dataplane import Dataplane
from mpbond.kernel.endpoints import Endpoints
from mpbond.layout import BondSpec, Layout, PathSpec
from mpbond.learnt import Learnt, Reached, patience_ns, waits

Array = np.ndarray[Any, Any]

# A path that is silent for so long, or three failoverIntervals, leads where the file says.
LEAST_SILENCE_NS = 10_000_000_000
# Paths of peers that come by themselves are made no more often than this.
ARRIVALS_NS = 50_000_000
SILENCE_CHECK_NS = 1_000_000_000


def as_endpoint(place: tuple[Address, int]) -> str:
    """`ADDRESS:PORT`, or `[V6]:PORT`."""
    address, port = place
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def of_file(path: PathSpec) -> tuple[Address, int]:
    return path.key.remote, path.key.port


def ways(endpoints: Endpoints, bond: BondSpec, first: int) -> tuple[Way, ...]:
    """Where to ask a peer for a session: where its paths lead, and where the file says."""
    found: dict[Way, None] = {}
    for path in bond.paths:
        moved = endpoints.moved(first + path.number)
        for remote, port in (moved or of_file(path), of_file(path)):
            found[Way(path.ifindex, path.key.local, remote, port)] = None
    return tuple(found)


def reached(path: PathSpec) -> Reached:
    key = path.key
    return Reached(key.ifname, key.local, key.remote, key.port)


class Roaming:
    """`learnt`: by peer without endpoints, what it has come by."""

    def __init__(self, plane: Dataplane, history: History, installed: Layout | None) -> None:
        self._plane = plane
        self._history = history
        self._inventory = Inventory({}, (), ())
        self.learnt = Learnt()
        self._bonds: dict[int, BondSpec] = {}
        self._paths: Array = np.zeros(0, np.int64)
        self._moves: Array = np.zeros(0, np.uint32)
        self._seen_ns: dict[int, Array] = {}
        self._arrivals_due_ns = 0
        self._silence_due_ns = 0
        for bond in installed.bonds if installed else ():
            if waits(bond.peer):
                for path in bond.paths:
                    self.learnt.add(bond.peer.id, reached(path))

    def follow(self, layout: Layout, inventory: Inventory) -> None:
        """The paths there are now, and the host as it is."""
        self._inventory = inventory
        self._bonds = {bond.index: bond for bond in layout.bonds}
        before = dict(zip(self._paths.tolist(), self._moves.tolist(), strict=True))
        indices = sorted(self._first(bond) + path.number for bond in layout.bonds for path in bond.paths)
        self._paths = np.array(indices, np.int64)
        now = self._plane.endpoints.moves(self._paths)
        # A path that took another's place begins at 0; an adopted one goes on.
        known = [
            min(before.get(path, count), count) for path, count in zip(indices, now.tolist(), strict=True)
        ]
        self._moves = np.array(known, np.uint32)
        self.learnt.keep(bond.peer.id for bond in layout.bonds if waits(bond.peer))
        self._seen_ns = {
            bond.index: self._seen_ns.get(bond.index, np.zeros(self._plane.block, np.uint64))
            for bond in layout.bonds
            if waits(bond.peer)
        }
        for path in indices:
            self._route(path)

    def as_led(self, index: int, path: PathSpec) -> PathSpec:
        """With where it leads now in the place of the file's endpoint."""
        moved = self._plane.endpoints.moved(index)
        if moved is None:
            return path
        return replace(path, key=replace(path.key, remote=moved[0], port=moved[1]))

    def look(self, now_ns: int) -> tuple[bool, bool]:
        """What has changed since: does any path lead elsewhere, are there other paths?"""
        moved = self._look_for_moves(now_ns)
        others = self._look_for_arrivals(now_ns)
        if now_ns >= self._silence_due_ns:
            self._silence_due_ns = now_ns + SILENCE_CHECK_NS
            back, gone = self._look_for_silence(now_ns)
            moved, others = moved or back, others or gone
        return moved, others

    # ---- paths that lead elsewhere ----------------------------------------------------

    def _look_for_moves(self, now_ns: int) -> bool:
        moves = self._plane.endpoints.moves(self._paths)
        if np.array_equal(moves, self._moves):
            return False
        for path in self._paths[moves != self._moves].tolist():
            self._route(path)
            spec, bond = self._spec(path)
            place = self._plane.endpoints.moved(path) or of_file(spec)
            self._tell(now_ns, bond, spec, f"{as_endpoint(place)}, learnt from the peer's probes")
        self._moves = moves.copy()
        return True

    def _route(self, path: int) -> None:
        """The next hop to where a path leads now, by its link's own routes."""
        place = self._plane.endpoints.moved(path)
        if place is None:
            return
        route = self._inventory.route_over(self._spec(path)[0].ifindex, place[0])
        if route is not None:
            self._plane.endpoints.set_next_hop(path, place, route.gateway or place[0])

    # ---- peers that come by themselves ------------------------------------------------

    def _look_for_arrivals(self, now_ns: int) -> bool:
        if now_ns < self._arrivals_due_ns:
            return False
        news = False
        for index, seen_ns in self._seen_ns.items():
            bond = self._bonds[index]
            arrived_ns = self._plane.endpoints.arrived_ns(self._first(bond), self._plane.block)
            fresh = np.flatnonzero(arrived_ns > seen_ns)
            if len(fresh):
                seen_ns[fresh] = arrived_ns[fresh]
                self._arrivals_due_ns = now_ns + ARRIVALS_NS
                for number in fresh.tolist():
                    news |= self._take(bond, number, now_ns)
        return news

    def _take(self, bond: BondSpec, number: int, now_ns: int) -> bool:
        """Whether it came by a way that was not known. Not of the distant past, as the
        maps may have it: an earlier controller may have seen to that."""
        first = self._first(bond)
        arrival = self._plane.endpoints.arrival(first, number)
        arrived_ns = int(self._plane.endpoints.arrived_ns(first + number, 1)[0])
        link = self._inventory.links.get(arrival.ifindex)
        if link is None or now_ns - arrived_ns > patience_ns(bond.policy.failover_interval_ms):
            return False
        one = Reached(link.name, arrival.local, arrival.remote, arrival.port)
        instead = [
            reached(path)
            for path in bond.paths
            if self._plane.endpoints.peer_path(first + path.number) == number
        ]
        if not self.learnt.add(bond.peer.id, one, instead):
            return False
        cause = f"{as_endpoint((one.remote, one.port))} on {one.ifname}, learnt: the peer came by it"
        self._history.add(now_ns, Kind.ENDPOINT, bond.peer.id, cause=cause)
        return True

    # ---- silence ------------------------------------------------------------------------

    def _look_for_silence(self, now_ns: int) -> tuple[bool, bool]:
        """Did any path go back to the file's address; did any go?"""
        back = gone = False
        for bond in self._bonds.values():
            for path in bond.paths:
                index = self._first(bond) + path.number
                silent_ns = now_ns - self._plane.endpoints.heard_ns(index)
                if waits(bond.peer):
                    gone |= self._drop_silent(bond, path, silent_ns, now_ns)
                elif self._plane.endpoints.moved(index) is not None:
                    back |= self._send_home(bond, path, silent_ns, now_ns)
        return back, gone

    def _drop_silent(self, bond: BondSpec, path: PathSpec, silent_ns: int, now_ns: int) -> bool:
        """One that was never heard was made just now, or by a probe that is older."""
        index = self._first(bond) + path.number
        if not self._plane.endpoints.heard_ns(index):
            last_ns = int(np.max(self._plane.endpoints.arrived_ns(self._first(bond), self._plane.block)))
            silent_ns = now_ns - last_ns
        if silent_ns <= patience_ns(bond.policy.failover_interval_ms):
            return False
        self.learnt.drop(bond.peer.id, reached(path))
        self._tell(
            now_ns, bond, path, f"{as_endpoint(of_file(path))} is given up: silent for {silent_ns // 10**9} s"
        )
        return True

    def _send_home(self, bond: BondSpec, path: PathSpec, silent_ns: int, now_ns: int) -> bool:
        if silent_ns <= max(LEAST_SILENCE_NS, 3 * bond.policy.failover_interval_ms * 1_000_000):
            return False
        self._plane.endpoints.forget(self._first(bond) + path.number)
        cause = f"{as_endpoint(of_file(path))} again, as the file says: silent for {silent_ns // 10**9} s"
        self._tell(now_ns, bond, path, cause)
        return True

    # ---- small things -------------------------------------------------------------------

    def _first(self, bond: BondSpec) -> int:
        return self._plane.path_index(bond.index, 0)

    def _spec(self, path: int) -> tuple[PathSpec, BondSpec]:
        bond = self._bonds[path // self._plane.block]
        return next(one for one in bond.paths if one.number == path % self._plane.block), bond

    def _tell(self, now_ns: int, bond: BondSpec, path: PathSpec, cause: str) -> None:
        place = (path.number, path.key.ifname)
        self._history.add(now_ns, Kind.ENDPOINT, bond.peer.id, path=place, cause=cause)
