"""The last few probes of a path: the delay of now, how it varies, the way's extremes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import pytest

from mpbond.groups import Groups
from mpbond.lately import UNKNOWN_US, Answers, Lately

MS = 1_000_000
PERIOD_NS = 250 * MS
OFFSET = (1 << 61) + 12_345  # of the peer's clock


@dataclass
class Paths:
    """Two paths of one bond. `answer` puts probes into the rings, as the kernel does."""

    lately: Lately = field(default_factory=Lately)
    now_ns: int = 1000 * PERIOD_NS
    interval_ms: int = 125

    def __post_init__(self) -> None:
        self.lately.follow([4, 5])
        self.rtt = np.zeros((2, 64), np.uint32)
        self.forward = np.zeros((2, 64), np.uint64)
        self.count = np.zeros(2, np.uint32)
        self.silent = np.zeros(2, bool)

    def answer(self, *half_ms: float, path: int = 0) -> Paths:
        for value in half_ms:
            place = int(self.count[path]) % 64
            self.rtt[path, place] = int(2 * value * MS)
            self.forward[path, place] = OFFSET + int(value * MS)
            self.count[path] += 1
        return self

    def look(self) -> Paths:
        self.now_ns += PERIOD_NS
        self.lately.update(
            self.now_ns,
            Answers(
                self.count.copy(),
                np.full(2, self.interval_ms * MS),
                self.silent.copy(),
                lambda rows, places: self.rtt[rows[:, np.newaxis], places],
                lambda rows, places: self.forward[rows[:, np.newaxis], places],
            ),
        )
        return self

    @property
    def delay_ms(self) -> float:
        return float(self.lately.delay_ms[0])

    @property
    def behind_ms(self) -> list[tuple[float, float]]:
        least, most = self.lately.behind_us(np.ones(2, bool), Groups([0, 0]))
        return list(zip((least / 1000).tolist(), (most / 1000).tolist(), strict=True))


@pytest.mark.parametrize(
    ("why", "answers", "delay_ms"),
    [
        ("one", (10,), 10),
        ("two: between them", (10, 20), 15),
        ("the last six at 8 a second", (99,) * 10 + (1, 2, 3, 4, 5, 6), 3.5),
        ("two late ones are chance", (10,) * 6 + (300, 300), 10),
        ("three may be a change", (10,) * 6 + (300, 300, 300), 155),
        ("four are", (10,) * 6 + (300,) * 4, 300),
        ("two early ones are chance too", (300,) * 6 + (10, 10), 300),
    ],
)
def test_the_delay_of_now(why: str, answers: tuple[float, ...], delay_ms: float) -> None:
    assert Paths().answer(*answers).look().delay_ms == delay_ms


@pytest.mark.parametrize(("interval_ms", "looked_at"), [(1250, 3), (250, 3), (125, 6), (20, 8)])
def test_of_three_quarters_of_a_second_or_so(interval_ms: int, looked_at: int) -> None:
    paths = Paths(interval_ms=interval_ms).answer(*[10] * 20).look()
    for late in range(looked_at):
        assert (paths.delay_ms == 10) is (late <= (looked_at - 1) // 2)
        paths.answer(90).look()


def test_how_it_varies() -> None:
    paths = Paths().answer(*[0] * 30, *[10, 20] * 8).look()
    assert paths.lately.varies_ms[0] == pytest.approx(5.0)
    assert math.isnan(paths.lately.varies_ms[1]), "nothing came in there"


def test_a_path_that_was_silent_begins_anew() -> None:
    paths = Paths().answer(*[300] * 20).look()
    paths.silent[0] = True
    assert math.isnan(paths.look().delay_ms)
    paths.silent[0] = False
    assert paths.answer(10).look().delay_ms == 10
    assert paths.lately.varies_ms[0] == 0
    assert paths.behind_ms[0] == (0, 0)


def test_rings_that_were_there_before_count() -> None:
    """A controller that takes over."""
    paths = Paths().answer(*[7] * 100)
    assert paths.look().delay_ms == 7


def test_over_what_the_fastest_path_takes_at_least() -> None:
    paths = Paths().answer(12, 10, 15).answer(60, 64, 61, path=1).look()
    assert paths.behind_ms == [(0, 5), (50, 54)]


def test_extremes_are_of_the_last_ten_seconds() -> None:
    paths = Paths().answer(10, 90).answer(60, path=1).look()
    for _ in range(31):
        paths.answer(10).answer(60, path=1).look()
    assert paths.behind_ms[0] == (0, 80)
    for _ in range(9):
        paths.answer(10).answer(60, path=1).look()
    assert paths.behind_ms[0] == (0, 0)


def test_all_that_came_in_since_the_last_look_counts() -> None:
    paths = Paths(interval_ms=20).answer(10).look()
    paths.answer(95, *[10] * 12)
    assert paths.look().behind_ms[0] == (0, 85)


def test_nothing_known_of_the_way() -> None:
    paths = Paths().answer(10).look()
    assert paths.behind_ms == [(0, 0), (0, UNKNOWN_US / 1000)]
    assert Paths().look().behind_ms == [(0, UNKNOWN_US / 1000)] * 2
