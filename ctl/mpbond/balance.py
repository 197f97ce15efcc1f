"""Balance-aware bonds, period by period: measurements in, slot tables out. Pure.

A control period costs array operations over all paths; only a bond with something
to do is looked at by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from mpbond.abi import SLOTS
from mpbond.capacity import Capacities, LinkCapacity, LinkFigures, weighed
from mpbond.groups import Groups
from mpbond.rows import Bools, Floats, Ints, Rows, fresh_record
from mpbond.samples import Estimates
from mpbond.shares import Load, Watch, bulky, demands, off_their_share, shares_of, wanted
from mpbond.slotrates import SlotRates
from mpbond.slots import rearranged

SECOND_NS = 1_000_000_000
# Until a path has carried for so long without being avoided it gets idle slots only.
PROOF_NS = 3 * SECOND_NS
# A busy slot that was moved for the balance stays where it is for so long.
REST_NS = 30 * SECOND_NS

# No path gets less than this for its quality alone: keeping off is avoid.py's decision.
LEAST_QUALITY = 0.01
_NEVER = np.full(SLOTS, -REST_NS, np.int64)

TableOf = Callable[[int], Sequence[int]]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the paths belong, (n,) each. `links`: a number for the link of the bond;
    `given_bps`: its capacity by the file, 0 = not given; `speed_bps`: what its device
    says, NaN = nothing."""

    paths: Ints
    bonds: Ints
    links: Ints
    given_bps: Floats
    speed_bps: Floats


class Cause(StrEnum):
    """Why a table changes: a path came or went, shares moved, or the traffic is uneven."""

    PATHS = "paths"
    SHARES = "shares"
    LOAD = "load"


@dataclass(frozen=True, slots=True)
class Move:
    """A table to be written. `crowded`: full paths that gave up busy slots; where a queue
    always stands flows make no pause."""

    bond: int
    table: list[int]
    cause: Cause
    crowded: tuple[int, ...] = ()


_STATE = np.dtype([("have", "<f8"), ("first_ns", "<i8")])


class Balance(Rows):
    """`place` the paths of all bonds; each period `measure`, `weigh`, `count_slots`, `moves`.

    `bps`: (n,) capacity by which each path's link counts, in a unit of its own where
    nothing is known of any link of the bond; `share`: (n,) what each path is due;
    `link`: what capacity.py says of each path's link. `bonds`: who belongs together.
    """

    def __init__(self) -> None:
        super().__init__(fresh_record(_STATE, have=np.nan))
        none = np.zeros(0)
        self.bonds = Groups(())
        self._links = Groups(())
        self._capacities = Capacities()
        self._watch = Watch()
        self._rates = SlotRates()
        self._moved_ns: dict[int, Ints] = {}
        self._place = Place(*(np.zeros(0, np.int64),) * 3, none, none)
        self.share = self.bps = none
        self.link = LinkCapacity(none, none > 0, none > 0, none.astype(np.int64))

    def place(self, place: Place) -> None:
        """From now on these are the paths, with what they had if they were there before."""
        self.follow(place.paths)
        self._place = place
        self.bonds, self._links = Groups(place.bonds), Groups(place.links)
        self._capacities.follow(self._links.keys)
        self._watch.follow(self.bonds.keys)
        self._rates.follow(self.bonds.keys)
        here = set(self.bonds.keys.tolist())
        self._moved_ns = {bond: at for bond, at in self._moved_ns.items() if bond in here}
        self.share = np.zeros(len(place.paths))

    def tables_changed(self, bonds: npt.ArrayLike) -> None:
        """Someone else has written these bonds' tables."""
        self.state["have"][np.isin(self._place.bonds, np.asarray(bonds, np.int64))] = np.nan

    # ---- what the links carry -----------------------------------------------------

    def measure(self, now_ns: int, estimates: Estimates, alive: Bools) -> None:
        """`alive` (n,): of whom the figures count."""
        links = self._links

        def total(figures: Floats) -> Floats:
            return links.sum(np.where(alive, np.nan_to_num(figures), 0.0))

        def most(figures: Floats) -> Floats:
            return links.max(np.where(alive, figures, np.nan))

        figures = LinkFigures(
            now_ns=now_ns,
            delivered_bps=total(estimates.delivered_bps),
            sent_bps=total(estimates.sent_bps),
            # As floats they are exact to a microsecond: enough to tell a new one.
            figure_ns=links.max(estimates.figure_ns.astype(np.float64)).astype(np.int64),
            queue_ms=most(estimates.queue_ms),
            loss=most(estimates.plr_least),
            jitter_ms=most(estimates.pdv_ms),
        )
        found, of = self._capacities.update(figures), links.of
        self.link = LinkCapacity(found.bps[of], found.full[of], found.queueing[of], found.filled_ns[of])

    # ---- what follows from it --------------------------------------------------------

    def weigh(self, part: Floats, quality: Floats) -> None:
        """`part` (n,): of its link's share what the path is due; 0 for who carries
        nothing. `quality` (n,): 0..1."""
        counts = part > 0
        bps = weighed(
            self._place.given_bps,
            self._place.speed_bps,
            np.where(counts, self.link.bps, np.nan),
            self._capacities.carried_bps[self._links.of],
            counts,
            self.bonds,
        )
        self.bps = bps
        self.share = shares_of(part * bps * np.maximum(quality, LEAST_QUALITY), self.bonds)

    def count_slots(self, now_ns: int, counted: Callable[[Ints], npt.NDArray[np.uint64]]) -> None:
        """`counted`: bond indices (b,) -> bytes of their slots so far (b, 256); asked when
        it is time."""
        if self._rates.due(now_ns):
            self._rates.update(now_ns, counted(self.bonds.keys))

    def moves(self, now_ns: int, sent_bps: Floats, balanced: Bools, table_of: TableOf) -> list[Move]:
        """The tables that change now; they count as written. `balanced` (n,): paths of
        bonds that are balance-aware; `sent_bps` (n,)."""
        state = self.state
        share = np.where(balanced, self.share, 0.0)
        have = np.where(balanced, state["have"], 0.0)
        load = Load(share, np.nan_to_num(sent_bps), self.link.full, self._known_bps(now_ns, share))
        uneven = self._watch.uneven(now_ns, load, self.bonds)
        due = (self.bonds.any(off_their_share(share, have)) | uneven) & self.bonds.any(share > 0)
        found = [
            self._move(int(group), now_ns, load, bool(uneven[group]), table_of)
            for group in np.flatnonzero(due)
        ]
        return [move for move in found if move is not None]

    def _known_bps(self, now_ns: int, share: Floats) -> Floats:
        """What may be put on a path at most: on one that is new, nothing yet."""
        first_ns = self.state["first_ns"]
        first_ns[(first_ns == 0) & (share > 0)] = now_ns
        return np.where(now_ns - first_ns < PROOF_NS, 0.0, self.link.bps)

    def _move(self, group: int, now_ns: int, load: Load, uneven: bool, table_of: TableOf) -> Move | None:
        rows, bond = self.bonds.rows(group), int(self.bonds.keys[group])
        load, paths, have = load.at(rows), self.paths[rows], self.state["have"][rows]
        joined = bool(((load.share > 0) & (have == 0)).any())
        left = bool(((load.share <= 0) & (have > 0)).any())
        before = [int(path) for path in table_of(bond)]
        # Near enough is left: else the last slot would go to and fro.
        share = load.share if off_their_share(load.share, have).any() else have
        after = self._rearranged(bond, before, paths, load, share, now_ns, busy=uneven or joined)
        counts = np.bincount(np.asarray(after, np.int64), minlength=int(paths.max()) + 1)
        self.state["have"][rows] = counts[paths] / SLOTS
        if after == before:
            return None
        givers = self._rest(bond, before, after, paths[load.share > 0], now_ns)
        cause = Cause.PATHS if joined or left else Cause.LOAD if givers else Cause.SHARES
        return Move(bond, after, cause, tuple(sorted(givers & set(paths[load.full].tolist()))))

    def _rearranged(
        self, bond: int, before: list[int], paths: Ints, load: Load, share: Floats, now_ns: int, *, busy: bool
    ) -> list[int]:
        rate_bps, table = self._rates.of(bond), np.asarray(before, np.int64)
        bulk = bulky(before, rate_bps, paths, load.full)
        demand = demands(rate_bps, list(bulk.values()))
        carried = np.array([demand[table == path].sum() for path in paths])
        goal = dict(zip(paths.tolist(), wanted(replace(load, carried_bps=carried)).tolist(), strict=True))
        shares = dict(zip(paths.tolist(), share.tolist(), strict=True))
        movable = np.full(SLOTS, busy)
        movable &= now_ns - self._moved_ns.get(bond, _NEVER) >= REST_NS
        # One flow fills a path as well as ten: none is taken that leaves it empty.
        for slots in bulk.values():
            movable[slots[:1]] = False
        return rearranged(before, shares, demand, goal, movable)

    def _rest(self, bond: int, before: list[int], after: list[int], stay: Ints, now_ns: int) -> set[int]:
        """Busy slots that were moved off paths that go on are not moved again soon. Which
        paths these are."""
        was = np.asarray(before, np.int64)
        moved = (was != np.asarray(after, np.int64)) & np.isin(was, stay) & (self._rates.of(bond) > 0)
        if not moved.any():
            return set()
        self._moved_ns[bond] = np.where(moved, now_ns, self._moved_ns.get(bond, _NEVER))
        self._watch.moved(bond, now_ns)
        return set(was[moved].tolist())
