"""Limits of linkQuality: who is avoided, when he is taken back, and how often at most."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from mpbond.avoid import AGAIN_NS, EDGE_NS, Avoidance, Verdict
from mpbond.groups import Groups

MS = 1_000_000
S = 1_000 * MS
PERIOD_NS = 250 * MS
LIMITS = np.array([[100.0, 50.0, 0.01, 0.001]])
GOOD = (10.0, 1.0, 0.0, 0.0)
NAN = math.nan


class Path:
    """One path with LIMITS. Time goes on by a period with every look."""

    def __init__(self) -> None:
        self.avoidance = Avoidance()
        self.avoidance.follow([7])
        self.now_ns = 1000 * S

    def look(self, *values: float) -> Verdict:
        self.now_ns += PERIOD_NS
        return self.avoidance.update(self.now_ns, np.array([values]), LIMITS)

    def latency(self, *latencies_ms: float) -> str:
        """After each: a for avoided, . for not."""
        seen = (self.look(latency_ms, *GOOD[1:]) for latency_ms in latencies_ms)
        return "".join("a" if verdict.avoided[0] else "." for verdict in seen)


# ---- one path ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Over:
    why: str
    values: tuple[float, ...]
    cause: int | None
    excess: float


OVER = [
    Over("good", GOOD, None, 0.1),
    Over("at a limit is not over it", (100, 1, 0, 0), None, 1.0),
    Over("latency", (101, 1, 0, 0), 0, 1.01),
    Over("variation", (10, 100, 0, 0), 1, 2.0),
    Over("loss", (10, 1, 0.011, 0), 2, 1.1),
    Over("errors", (10, 1, 0, 0.01), 3, 10.0),
    Over("the worst of several is the cause", (150, 1, 0.1, 0), 2, 10.0),
    Over("nothing known", (NAN, NAN, NAN, NAN), None, 0.0),
    Over("what is known counts", (NAN, NAN, 0.5, NAN), 2, 50.0),
]


@pytest.mark.parametrize("case", OVER, ids=lambda case: case.why)
def test_a_path_over_any_limit_is_avoided(case: Over) -> None:
    verdict = Path().look(*case.values)
    assert bool(verdict.avoided[0]) is bool(verdict.newly[0]) is (case.cause is not None)
    assert verdict.excess[0] == pytest.approx(case.excess)
    if case.cause is not None:
        assert verdict.cause[0] == case.cause


def test_the_cause_is_what_it_was_avoided_for() -> None:
    path = Path()
    path.look(10, 1, 0.5, 0)
    assert path.look(120, 1, 0.0, 0).cause[0] == 2


@dataclass(frozen=True)
class Story:
    why: str
    seen: tuple[float, ...]
    avoided: str


STORIES = [
    Story("back after two periods inside four fifths", (300, 80, 80, 80), "aa.."),
    Story("they have to be in a row", (300, 80, 81, 80, 80), "aaaa."),
    Story("between four fifths and the limit it stays as it is", (99, 300, 99, 81, 99), ".aaaa"),
    Story("without a figure it stays avoided", (300, NAN, NAN, NAN, 10, 10), "aaaaa."),
    Story("just over: not back so soon", (101, 10, 10, 10, 10), "aaaaa"),
    Story("just over at first, clearly later", (101, 300, 10, 10, 10), "aaa.."),
]


@pytest.mark.parametrize("case", STORIES, ids=lambda case: case.why)
def test_taken_back(case: Story) -> None:
    assert Path().latency(*case.seen) == case.avoided


def periods(time_ns: int) -> int:
    return time_ns // PERIOD_NS


def test_who_was_only_just_over_is_back_within_ten_seconds() -> None:
    path = Path()
    path.latency(110)
    seen = path.latency(*[70] * periods(10 * S))
    assert seen.count("a") == periods(EDGE_NS)


def test_the_second_time_in_a_minute_it_takes_a_minute() -> None:
    path = Path()
    assert path.latency(300, 10, 10, 300) == "aa.a"
    assert path.latency(*[10] * periods(70 * S)).count("a") == periods(AGAIN_NS)


def test_and_one_bad_moment_begins_it_anew() -> None:
    path = Path()
    path.latency(300, 10, 10, 300, *[10] * periods(50 * S), 90)
    assert path.latency(*[10] * periods(70 * S)).count("a") == periods(AGAIN_NS)


def test_after_a_calm_minute_it_is_quick_again() -> None:
    path = Path()
    path.latency(300, 10, 10, *[10] * periods(60 * S))
    assert path.latency(300, 10, 10) == "aa."


def test_how_long_it_will_take() -> None:
    path = Path()
    path.latency(300, 10, 10, 300)
    assert path.avoidance.wait_ns(path.now_ns) == AGAIN_NS
    path.latency(10)
    path.now_ns += 20 * S
    assert path.avoidance.wait_ns(path.now_ns) == AGAIN_NS - 20 * S


def test_another_path_under_the_number_starts_from_nothing() -> None:
    path = Path()
    path.latency(300, 10, 10, 300)
    path.avoidance.forget([7])
    assert path.latency(300, 10, 10) == "aa."


# ---- at the edge, for five minutes -----------------------------------------------------------

_RANDOM = np.random.default_rng(4)
_WALK = np.cumsum(_RANDOM.normal(0, 4, periods(300 * S)))


def _squares(half_s: float, low: float, high: float) -> Callable[[int], float]:
    return lambda step: high if step * PERIOD_NS / 1e9 % (2 * half_s) < half_s else low


HOVERING: dict[str, Callable[[int], float]] = {
    "noise": lambda step: float(100 + _RANDOM.normal(0, 15)),
    "slow waves": lambda step: 95 + 25 * math.sin(2 * math.pi * step * PERIOD_NS / 20e9),
    "a walk": lambda step: float(95 + (_WALK[step] - _WALK.mean()) % 60 - 30),
    "at 70 and 110, two seconds each": _squares(2, 70, 110),
    "seven seconds each": _squares(7, 70, 110),
    "fifteen seconds each": _squares(15, 70, 110),
    "forty seconds each": _squares(40, 70, 110),
    "between good and bad, three seconds each": _squares(3, 10, 300),
    "twenty seconds each": _squares(20, 10, 300),
}


@pytest.mark.parametrize("why", HOVERING)
def test_at_the_edge_flows_move_twice_a_minute_at_most(why: str) -> None:
    path = Path()
    seen = path.latency(*(HOVERING[why](step) for step in range(periods(300 * S))))
    changes = [at for at in range(1, len(seen)) if seen[at] != seen[at - 1]]
    assert len(changes) <= 10
    minute = periods(60 * S)
    worst = max((sum(at <= other < at + minute for other in changes) for at in changes), default=0)
    assert worst <= 3, "off, back and off again, and then a minute's rest"


# ---- when all are avoided ------------------------------------------------------------------------


@dataclass(frozen=True)
class Least:
    """Latencies of the paths of one bond, period by period; who is used in the end."""

    why: str
    seen: tuple[tuple[float, ...], ...]
    used: tuple[int, ...]


LEAST = [
    Least("nobody is avoided", ((10, 10),), (0, 1)),
    Least("the others serve", ((10, 300),), (0,)),
    Least("all are avoided: the least bad one serves", ((120, 900),), (0,)),
    Least("and who is nearly as good", ((120, 220, 900),), (0, 1)),
    Least("who serves goes on till he is twice that bad", ((120, 220), (120, 450)), (0, 1)),
    Least("but no longer", ((120, 220), (120, 500)), (0,)),
    Least("who waits out his time is not better than at his limit", ((300, 150), (10, 150)), (0, 1)),
]


@pytest.mark.parametrize("case", LEAST, ids=lambda case: case.why)
def test_the_least_bad_serve_where_nobody_else_can(case: Least) -> None:
    count = len(case.seen[0])
    avoidance, bonds = Avoidance(), Groups([3] * count)
    avoidance.follow(range(count))
    off = np.ones(count, bool)
    for step, latencies in enumerate(case.seen, 1):
        values = np.array([(latency_ms, *GOOD[1:]) for latency_ms in latencies])
        verdict = avoidance.update(step * PERIOD_NS, values, np.repeat(LIMITS, count, 0))
        off = avoidance.kept_off(verdict, np.ones(count, bool), bonds)
    assert tuple(np.flatnonzero(~off)) == case.used


def test_who_is_no_candidate_helps_nobody() -> None:
    """A good path that is down does not keep a bond's only living one from serving."""
    avoidance = Avoidance()
    avoidance.follow([0, 1, 8])
    values = np.array([(300.0, *GOOD[1:]), GOOD, (300.0, *GOOD[1:])])
    verdict = avoidance.update(S, values, np.repeat(LIMITS, 3, 0))
    off = avoidance.kept_off(verdict, np.array([True, False, True]), Groups([0, 0, 1]))
    assert off.tolist() == [False, False, False]
