"""What each path of a balance-aware bond should carry, and when slots move for it. Pure.

Shares are capacity times quality. Slots follow them, but not every breath: a table
that is within BAND of its shares stays. What the paths really carry is looked at
besides, by the bytes of each slot, for flows differ and may all have taken the
same path: then busy slots move too, one step at a time.

TCP fills whatever it is given. Where all paths are full there is nothing to gain by
moving what a queue stands for; there flows are divided by their number, so that
none has to do with a fifth of what its neighbour gets. A full path beside one with
room is another thing: it sheds slots, STEP of its traffic at a time, until it is not
full any more or the other one is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mpbond.groups import Groups
from mpbond.rows import Bools, Floats, Ints, Rows, fresh_record

SECOND_NS = 1_000_000_000
# A path whose part of the slots is this far from its share gets its share.
BAND = 0.03
# Paths that carry another part of the bytes than their share by so much are looked at,
# once the bond carries anything worth it.
DRIFT = 0.10
WORTH_BPS = 1_000_000.0
# What leads to a move has to last, and a move has to show what it brought.
PERSIST_NS = SECOND_NS
SETTLE_NS = 3 * SECOND_NS
CALM_NS = 60 * SECOND_NS
# How often a bond whose paths are all full is looked at.
FAIR_NS = 5 * SECOND_NS
STEP = 0.125
# Of what a path is known to carry, so much may be put on it.
HEADROOM = 0.9
# A slot with this part of what its path's busiest has, on a full path, would take
# whatever it got.
BULK = 0.1


def shares_of(weight: Floats, bonds: Groups) -> Floats:
    """(n,) weights, 0 for who carries nothing -> (n,) parts that sum to 1 in each bond,
    or to 0 where nobody carries anything."""
    total = bonds.sum(weight)[bonds.of]
    found: Floats = np.where(total > 0, weight / np.where(total > 0, total, 1.0), 0.0)
    return found


def off_their_share(share: Floats, have: Floats) -> Bools:
    """(n,) parts that paths should have and have: by more than a little, or who is to
    carry has nothing, or who is not has something."""
    off: Bools = (np.abs(share - have) > BAND) | ((share > 0) != (have > 0))
    return off


@dataclass(frozen=True, slots=True)
class Load:
    """Paths as they carry now, (k,) of one bond or (n,) of many. `share`: 0 where none;
    `carried_bps`: what is sent over them; `full`: they look full; `known_bps`: what they
    are known to carry at most, NaN where that has not shown, 0 where nothing may be put."""

    share: Floats
    carried_bps: Floats
    full: Bools
    known_bps: Floats

    @property
    def room_bps(self) -> Floats:
        """(n,) how much more may be put on each path; infinite where no end was seen."""
        limit = np.where(np.isnan(self.known_bps), np.inf, HEADROOM * self.known_bps)
        room: Floats = np.where(self.full | (self.share <= 0), 0.0, limit - self.carried_bps)
        return np.maximum(room, 0.0)

    def at(self, rows: Ints) -> Load:
        """These rows alone."""
        return Load(self.share[rows], self.carried_bps[rows], self.full[rows], self.known_bps[rows])


_STATE = np.dtype([("wrong_ns", "<i8"), ("moved_ns", "<i8"), ("looked_ns", "<i8"), ("settle_ns", "<i8")])


class Watch(Rows):
    """Which bonds carry other than they should, long enough to do something about it.
    `follow` the bonds, in the order of the groups' keys.

    After a move there is a while to see what it has brought; twice as long each time
    until all was well for CALM_NS, so that what does not help is not done for ever.
    """

    def __init__(self) -> None:
        super().__init__(fresh_record(_STATE, settle_ns=SETTLE_NS))

    def uneven(self, now_ns: int, load: Load, bonds: Groups) -> Bools:
        """(n,) load of all paths -> (bonds,) whose busy slots are to be looked at."""
        state = self.state
        wrong = self._wrong(now_ns, load, bonds)
        state["wrong_ns"] = np.where(wrong, np.where(state["wrong_ns"] > 0, state["wrong_ns"], now_ns), 0)
        calm = ~wrong & (now_ns - state["moved_ns"] >= CALM_NS)
        state["settle_ns"][calm] = SETTLE_NS
        lasting = wrong & (now_ns - state["wrong_ns"] >= PERSIST_NS)
        due: Bools = lasting & (now_ns - state["moved_ns"] >= state["settle_ns"])
        state["looked_ns"][due] = now_ns
        return due

    def _wrong(self, now_ns: int, load: Load, bonds: Groups) -> Bools:
        carrying = load.share > 0
        total = bonds.sum(np.where(carrying, load.carried_bps, 0.0))
        part = load.carried_bps / np.maximum(total, 1.0)[bonds.of]
        room = load.room_bps > 0
        too_much = carrying & (part - load.share > DRIFT)
        too_little = carrying & (load.share - part > DRIFT / 2) & room
        drifted = bonds.any(too_much) & bonds.any(too_little)
        sheds = bonds.any(carrying & load.full) & bonds.any(carrying & room)
        crowded = ~bonds.any(carrying & ~load.full) & (bonds.sum(carrying) > 1)
        crowded &= now_ns - self.state["looked_ns"] >= FAIR_NS
        found: Bools = (total >= WORTH_BPS) & (drifted | sheds | crowded)
        return found

    def moved(self, bond: int, now_ns: int) -> None:
        """Busy slots of this bond were moved."""
        row, state = self.row(bond), self.state
        lately = now_ns - int(state["moved_ns"][row]) < CALM_NS
        state["settle_ns"][row] = min(2 * int(state["settle_ns"][row]), CALM_NS) if lately else SETTLE_NS
        state["moved_ns"][row], state["wrong_ns"][row] = now_ns, 0


def bulky(table: Sequence[int], rate_bps: Floats, paths: Ints, full: Bools) -> dict[int, Ints]:
    """Of each full path (of `paths`, (k,)) the slots that would carry more if they could."""
    path_of = np.asarray(table, np.int64)
    found: dict[int, Ints] = {}
    for path in paths[full].tolist():
        own = np.flatnonzero((path_of == path) & (rate_bps > 0))
        found[path] = own[rate_bps[own] >= BULK * rate_bps[own].max(initial=0.0)]
    return found


def demands(rate_bps: Floats, bulk: Sequence[Ints]) -> Floats:
    """(256,) what each slot would carry if it could: what it does, but bulky ones an
    equal part each of what they get together."""
    demand = rate_bps.copy()
    slots = np.concatenate(bulk) if bulk else np.zeros(0, np.int64)
    if len(slots):
        demand[slots] = rate_bps[slots].mean()
    return demand


def wanted(load: Load) -> Floats:
    """(k,) what each path of a bond should carry, of what all carry now.

    By share; but a full path gets no more than it has while another has room, and less
    if that is not more than its share; and nobody gets more than there is room for.
    What there is no room for goes by share again.
    """
    total = float(load.carried_bps.sum())
    by_share = load.share * total
    carrying = load.share > 0
    if bool(load.full[carrying].all()):
        return by_share
    shed = np.where(load.carried_bps > by_share, by_share, load.carried_bps * (1.0 - STEP))
    most = np.where(load.full, np.fmin(shed, load.known_bps), load.carried_bps + load.room_bps)
    most = np.where(carrying, most, 0.0)
    placed = np.zeros(len(most))
    # Filled up by share, until all is placed or everybody has what he can take.
    for _ in range(len(most)):
        left = total - placed.sum()
        hungry = load.share * (placed < most)
        if left <= 0 or hungry.sum() <= 0:
            break
        placed = np.minimum(placed + left * hungry / hungry.sum(), most)
    left = max(total - float(placed.sum()), 0.0)
    open_to = load.share * (load.known_bps != 0.0)
    open_to = open_to if open_to.any() else load.share
    found: Floats = placed + left * open_to / open_to.sum()
    return found
