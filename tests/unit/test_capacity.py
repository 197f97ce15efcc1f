"""What a link carries, from what arrives while it is full; and by what it counts till then."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest

from mpbond.capacity import FLOOR_BPS, Capacities, LinkCapacity, LinkFigures, weighed
from mpbond.groups import Groups

MS = 1_000_000
S = 1_000 * MS
NAN = math.nan


class Link:
    """One link, a new figure every half second."""

    def __init__(self) -> None:
        self.capacities = Capacities()
        self.capacities.follow([1 << 40])
        self.now_ns = 500 * S

    def look(
        self,
        delivered: float,
        queue_ms: float = 0.0,
        *,
        loss: float = 0.0,
        sent: float | None = None,
        jitter_ms: float = 0.0,
    ) -> LinkCapacity:
        self.now_ns += 500 * MS
        return self.capacities.update(
            LinkFigures(
                self.now_ns,
                np.array([delivered * 1e6]),
                np.array([(delivered if sent is None else sent) * 1e6]),
                np.array([self.now_ns]),
                np.array([queue_ms]),
                np.array([loss]),
                np.array([jitter_ms]),
            )
        )

    def mbit(self, *seen: tuple[float, float], times: int = 1) -> float:
        """After (delivered, queue) in turn."""
        found = [self.look(*one) for _ in range(times) for one in seen]
        return float(found[-1].bps[0]) / 1e6


FULL, FREE = 15.0, 0.0


def test_nothing_is_known_of_a_link_that_was_never_full() -> None:
    link = Link()
    assert math.isnan(link.mbit((80, FREE), (95, FREE), times=20))
    assert link.capacities.carried_bps[0] == pytest.approx(95e6, rel=0.01)


def test_what_arrives_for_a_second_while_a_queue_stands() -> None:
    link = Link()
    assert math.isnan(link.mbit((50, FULL), (50, FULL)))
    assert link.mbit((50, FULL)) == 50


def test_a_queue_of_a_moment_is_none() -> None:
    assert math.isnan(Link().mbit((50, FULL), (50, FREE), times=20))


def known(mbit: float) -> Link:
    link = Link()
    assert link.mbit((mbit, FULL), times=4) == mbit
    return link


@dataclass(frozen=True)
class Case:
    """A link known to carry 50: what is seen for ten seconds, what it is then."""

    why: str
    seen: tuple[tuple[float, float], ...]
    mbit: float


CASES = [
    Case("more arrives: that much", ((70, FULL),), 70),
    Case("less arrives while a queue stands: as much less", ((20, FULL),), 20.2),
    Case("less is sent: nothing is learnt", ((20, FREE),), 50),
    Case("nothing is sent", ((0, FREE),), 50),
    Case("nearly all is carried without a queue: it rises", ((45, FREE),), 54),
    Case("and rises until it has a margin, no more", ((41, FREE),), 51),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.why)
def test_an_estimate_goes_on(case: Case) -> None:
    assert known(50).mbit(*case.seen, times=20) == pytest.approx(case.mbit, rel=0.06)


def test_it_follows_a_slower_link_within_seconds_not_at_once() -> None:
    link = known(50)
    assert 38 < link.mbit((10, FULL)) < 42
    assert link.mbit((10, FULL), times=10) < 14


def test_a_queue_that_drains_makes_nothing_smaller() -> None:
    link = known(50)
    for _ in range(10):
        found = link.look(20, FULL, sent=1)
    assert found.bps[0] == 50e6


def test_a_figure_counts_once() -> None:
    link = known(50)
    figures = LinkFigures(
        link.now_ns,
        *(np.array([10e6]),) * 2,
        np.array([link.now_ns]),
        np.array([FULL]),
        *(np.array([0.0]),) * 2,
    )
    for _ in range(10):
        found = link.capacities.update(figures)
    assert found.bps[0] == 50e6


@pytest.mark.parametrize("mbit", [0.05, 0.0])
def test_a_trickle_shows_nothing(mbit: float) -> None:
    assert mbit * 1e6 < FLOOR_BPS
    assert known(50).mbit((mbit, FULL), times=20) == 50


# ---- full or not ---------------------------------------------------------------------------


def test_full_after_a_second_and_not_any_more_after_another() -> None:
    link = Link()
    seen = [bool(link.look(50, queue).full[0]) for queue in (FULL,) * 4 + (FREE,) * 4]
    assert seen == [False, False, True, True, True, True, False, False]
    assert link.look(50, FREE).filled_ns[0] == link.now_ns - 3 * 500 * MS


def test_jitter_while_nothing_is_sent_is_no_queue() -> None:
    link = Link()
    link.look(0.0, jitter_ms=10.0)
    assert not any(link.look(50, queue, jitter_ms=30.0).queueing[0] for queue in (12.0, 18.0))
    assert link.look(50, 20.0).queueing[0]


def test_what_a_queue_has_left_behind_is_no_jitter() -> None:
    """The variation of the last 64 probes, just after the queue has gone."""
    link = Link()
    link.look(0.0, jitter_ms=1.0)
    link.look(0.0, jitter_ms=30.0)
    assert link.look(50, 6.0).queueing[0]
    for _ in range(300):
        link.look(0.0, jitter_ms=30.0)
    assert not link.look(50, 40.0).queueing[0], "it stays: so it is jitter"


def test_a_link_is_full_by_loss_where_it_carries_what_it_did() -> None:
    link = Link()
    assert [bool(link.look(20, loss=0.02).full[0]) for _ in range(4)] == [False, False, True, True]
    assert link.look(20, loss=0.02).bps[0] == 20e6
    link = known(50)
    for _ in range(10):
        found = link.look(20, loss=0.02)
    assert not found.full[0], "it loses at two fifths of what it carried: something else is wrong"
    assert found.bps[0] == 50e6


def test_nothing_known_is_nothing_full() -> None:
    link = Link()
    found = [link.look(NAN, NAN, loss=NAN, jitter_ms=NAN) for _ in range(10)][-1]
    assert not found.full[0] and not found.queueing[0] and math.isnan(found.bps[0])


# ---- by what they count -----------------------------------------------------------------------


@dataclass(frozen=True)
class Weigh:
    """Mbit/s of the links of one bond: given (0 = not), its device's, estimated, carried."""

    why: str
    given: tuple[float, ...]
    speed: tuple[float, ...]
    estimated: tuple[float, ...]
    carried: tuple[float, ...]
    found: tuple[float, ...]


WEIGH = [
    Weigh("nothing known: all alike", (0, 0), (NAN, NAN), (NAN, NAN), (0, 0), (1, 1)),
    Weigh("by their devices' speeds", (0, 0), (1000, 100), (NAN, NAN), (0, 0), (1000, 100)),
    Weigh("unless one is not known", (0, 0), (1000, NAN), (NAN, NAN), (0, 0), (1, 1)),
    Weigh("what is given counts before all", (100, 20), (1000, 1000), (50, 50), (0, 0), (100, 20)),
    Weigh("the estimates", (0, 0), (1000, 1000), (80, 20), (0, 0), (80, 20)),
    Weigh("unknown: as the others", (0, 0, 0), (NAN,) * 3, (80, 20, NAN), (0,) * 3, (80, 20, 50)),
    Weigh("the same beside given ones", (90, 30, 0), (NAN,) * 3, (NAN,) * 3, (0,) * 3, (90, 30, 60)),
    Weigh("but not as more than his device's speed", (90, 0), (NAN, 10), (NAN, NAN), (0, 0), (90, 10)),
    Weigh("nor less than he has carried", (0, 0), (NAN, NAN), (20, NAN), (0, 45), (20, 45)),
    Weigh("a link that is nearly nothing keeps a little", (0, 0), (NAN, NAN), (1000, 1), (0, 0), (1000, 10)),
    Weigh("unless the file says so", (1000, 1), (NAN, NAN), (NAN, NAN), (0, 0), (1000, 1)),
]  # fmt: skip


@pytest.mark.parametrize("case", WEIGH, ids=lambda case: case.why)
def test_weighed(case: Weigh) -> None:
    count = len(case.given)
    figures = (np.array(one) * 1e6 for one in (case.given, case.speed, case.estimated, case.carried))
    found = weighed(*figures, np.ones(count, bool), Groups([0] * count))
    assert found / found.max() == pytest.approx(np.array(case.found) / max(case.found))


def test_who_does_not_count_is_no_measure_for_others_nor_are_other_bonds() -> None:
    given = np.array([0.0, 0.0, 0.0, 500e6])
    estimated = np.array([80e6, np.nan, 2e6, np.nan])
    counts = np.array([True, True, False, True])
    found = weighed(given, np.full(4, np.nan), estimated, np.zeros(4), counts, Groups([0, 0, 0, 1]))
    assert found[:2] == pytest.approx([80e6, 80e6])
