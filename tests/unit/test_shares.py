"""What paths should carry of what they do, and when that is worth a look."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest

from mpbond.groups import Groups
from mpbond.shares import Load, Watch, bulky, demands, off_their_share, shares_of, wanted

MS = 1_000_000
S = 1_000 * MS
PERIOD_NS = 250 * MS
NAN, INF = math.nan, math.inf


def load(
    share: tuple[float, ...],
    carried: tuple[float, ...],
    full: str = "",
    known: tuple[float, ...] | None = None,
) -> Load:
    """Mbit/s; `full`: f for a path that is."""
    return Load(
        np.array(share),
        np.array(carried) * 1e6,
        np.array([mark == "f" for mark in full.ljust(len(share), "-")]),
        np.full(len(share), NAN) if known is None else np.array(known) * 1e6,
    )


def test_shares_sum_to_one_in_each_bond_or_to_nothing() -> None:
    found = shares_of(np.array([1.0, 3.0, 0.0, 0.0, 5.0]), Groups([0, 0, 0, 1, 2]))
    assert found.tolist() == [0.25, 0.75, 0.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("share", "have", "off"),
    [
        (0.5, 0.5, False),
        (0.5, 0.525, False),
        (0.5, 0.54, True),
        (0.01, 0.0, True),
        (0.0, 0.01, True),
        (0.0, 0.0, False),
        (0.5, NAN, True),
    ],
)
def test_off_their_share(share: float, have: float, off: bool) -> None:
    assert bool(off_their_share(np.array([share]), np.array([have]))[0]) is off


# ---- what each should carry ---------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    why: str
    load: Load
    wanted: tuple[float, ...]


HALF = (0.5, 0.5)
CASES = [
    Case("by share", load(HALF, (30, 10)), (20, 20)),
    Case("nothing to carry", load(HALF, (0, 0)), (0, 0)),
    Case("all are full: by share", load(HALF, (80, 40), "ff"), (60, 60)),
    Case("a full one above its share gets its share", load(HALF, (80, 40), "f-"), (60, 60)),
    Case("at its share an eighth less", load(HALF, (40, 40), "f-"), (35, 45)),
    Case("below its share too", load((0.9, 0.1), (40, 40), "f-"), (35, 45)),
    Case("and no more than it can carry", load((0.9, 0.1), (40, 40), "f-", (20, NAN)), (20, 60)),
    Case("nobody gets more than there is room for", load((0.1, 0.9), (40, 40), "--", (NAN, 50)), (35, 45)),
    Case("what nobody has room for goes by share", load(HALF, (40, 40), "--", (20, 20)), (40, 40)),
    Case("nothing is put on a path that is new", load(HALF, (40, 0), "f-", (NAN, 0)), (40, 0)),
    Case("unless there is no other", load((0.0, 1.0), (40, 0), "--", (NAN, 0)), (0, 40)),
    Case("a path that goes leaves its traffic", load((0.0, 0.5, 0.5), (30, 10, 10)), (0, 25, 25)),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.why)
def test_wanted(case: Case) -> None:
    found = wanted(case.load) / 1e6
    assert found == pytest.approx(case.wanted)
    assert found.sum() == pytest.approx(case.load.carried_bps.sum() / 1e6)


def test_on_full_paths_what_wants_more_counts_alike() -> None:
    """Two flows that crowd on a slow path, three on a fast one, and a small one."""
    table, rates = [0] * 128 + [1] * 128, np.zeros(256)
    rates[[0, 1, 2]], rates[5], rates[[200, 201]] = 30.0, 1.0, 5.0
    paths, full = np.array([0, 1]), np.array([True, True])
    bulk = bulky(table, rates, paths, full)
    assert {path: slots.tolist() for path, slots in bulk.items()} == {0: [0, 1, 2], 1: [200, 201]}
    demand = demands(rates, list(bulk.values()))
    assert demand[[0, 1, 2, 200, 201]] == pytest.approx([20.0] * 5)
    assert demand[5] == 1.0
    assert demand.sum() == pytest.approx(rates.sum())


def test_elsewhere_it_counts_as_it_is() -> None:
    table, rates = [0] * 128 + [1] * 128, np.arange(256.0)
    bulk = bulky(table, rates, np.array([0, 1]), np.array([False, False]))
    assert bulk == {}
    assert demands(rates, []).tolist() == rates.tolist()


# ---- when it is looked at ----------------------------------------------------------------------

UNEVEN = load(HALF, (30, 10))
BONDS = Groups([4, 4])


class Bond:
    def __init__(self, now: Load = UNEVEN) -> None:
        self.watch = Watch()
        self.watch.follow([4])
        self.now_ns = 1000 * S
        self.load = now

    def due_after_s(self, at_most_s: float = 300) -> float:
        """Seconds until the bond is looked at; infinite where it is not."""
        began_ns = self.now_ns
        while self.now_ns - began_ns <= at_most_s * S:
            self.now_ns += PERIOD_NS
            if self.watch.uneven(self.now_ns, self.load, BONDS)[0]:
                return (self.now_ns - began_ns) / 1e9
        return INF


@dataclass(frozen=True)
class Look:
    why: str
    load: Load
    after_s: float


LOOKS = [
    Look("as they should", load(HALF, (20, 20)), INF),
    Look("nearly", load(HALF, (23, 17)), INF),
    Look("one carries too much for a second", UNEVEN, 1.25),
    Look("but hardly anything", load(HALF, (0.6, 0.2)), INF),
    Look("the other has no room", load(HALF, (30, 10), "--", (NAN, 11)), INF),
    Look("or is full itself", load(HALF, (30, 10), "-f"), 1.25),
    Look("a full one beside one with room", load((0.75, 0.25), (30, 10), "f-"), 1.25),
    Look("a full one beside one that is new", load((0.75, 0.25), (30, 10), "f-", (NAN, 0)), INF),
    Look("a full one alone", load((1.0, 0.0), (30, 0), "f-"), INF),
    Look("all are full: now and then", load((0.75, 0.25), (30, 10), "ff"), 1.25),
]


@pytest.mark.parametrize("case", LOOKS, ids=lambda case: case.why)
def test_uneven(case: Look) -> None:
    assert Bond(case.load).due_after_s(30) == case.after_s


def test_it_has_to_last() -> None:
    bond = Bond()
    assert bond.due_after_s(0.75) == INF
    bond.load = load(HALF, (20, 20))
    assert bond.due_after_s(0.25) == INF
    bond.load = UNEVEN
    assert bond.due_after_s() == 1.25


def test_what_does_not_help_is_done_less_and_less_often() -> None:
    bond, waited = Bond(), []
    for _ in range(7):
        waited.append(bond.due_after_s())
        bond.watch.moved(4, bond.now_ns)
    assert waited == [1.25, 3, 6, 12, 24, 48, 60]


def test_and_at_once_again_after_a_calm_minute() -> None:
    bond = Bond()
    for _ in range(4):
        bond.due_after_s()
        bond.watch.moved(4, bond.now_ns)
    bond.load = load(HALF, (20, 20))
    assert bond.due_after_s(62) == INF
    bond.load = UNEVEN
    assert bond.due_after_s() == 1.25
    bond.watch.moved(4, bond.now_ns)
    assert bond.due_after_s() == 3


def test_full_paths_are_looked_at_every_five_seconds() -> None:
    bond = Bond(load((0.75, 0.25), (30, 10), "ff"))
    assert [bond.due_after_s() for _ in range(3)] == [1.25, 6, 6]


def test_bonds_do_not_mix() -> None:
    watch, bonds = Watch(), Groups([1, 1, 2, 2])
    watch.follow([1, 2])
    both = load((*HALF, *HALF), (30, 10, 20, 20))
    seen = [watch.uneven(1000 * S + step * PERIOD_NS, both, bonds) for step in range(6)]
    assert seen[-2].tolist() == [True, False]


def test_room() -> None:
    one = load((0.5, 0.5, 0.0, 0.5), (30, 30, 0, 30), "---f", (100, NAN, 100, 100))
    assert (one.room_bps / 1e6).tolist() == [60, INF, 0, 0]
    assert replace(one, full=np.zeros(4, bool)).room_bps[3] == 60e6
