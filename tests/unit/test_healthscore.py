"""How a path has behaved: its minutes, as they pass and as they are kept."""

from __future__ import annotations

import numpy as np
import pytest

from mpbond.healthscore import MINUTE_NS, MINUTES, TrackRecord, health_scores


class Path:
    """One path, called eth0; `minutes` passes one for each mark, x with an outage."""

    def __init__(self, kept: dict[str, str] | None = None) -> None:
        self.record = TrackRecord(kept)
        self.record.follow_named({7: "eth0"})
        self.minute = 1000

    def minutes(self, marks: str) -> Path:
        for mark in marks:
            for part, alive in ((0, True), (1, mark != "x"), (2, True)):
                self.look(self.minute * MINUTE_NS + part * MINUTE_NS // 4, alive)
            self.minute += 1
        return self

    def look(self, now_ns: int, alive: bool = True) -> bool:
        return self.record.observe(now_ns, np.array([alive]))

    def closed(self) -> Path:
        self.look(self.minute * MINUTE_NS)
        return self

    @property
    def success(self) -> float:
        return float(self.record.success[0])


@pytest.mark.parametrize(
    ("marks", "success"),
    [
        ("", 1.0),
        (".", 1.0),
        ("x", 0.0),
        ("...x", 0.75),
        ("x" * 50 + "." * MINUTES, 1.0),
        ("x" + "." * 99, 0.99),
    ],
)
def test_the_share_of_the_last_hundred_minutes_without_an_outage(marks: str, success: float) -> None:
    assert Path().minutes(marks).closed().success == pytest.approx(success)


def test_a_minute_that_is_not_over_does_not_count_yet() -> None:
    assert Path().minutes("..x").success == 1.0


def test_a_minute_in_which_nobody_probed_is_none() -> None:
    path = Path().minutes(".x")
    path.minute += 60
    assert path.closed().success == 0.5
    assert path.record.text() == {"eth0": ".x"}


def test_it_tells_when_a_minute_has_passed() -> None:
    path = Path()
    assert [path.look(at * MINUTE_NS // 2) for at in (20, 21, 22, 23, 24)] == [
        False,
        False,
        True,
        False,
        True,
    ]


def test_it_goes_on_where_it_was_after_another_start() -> None:
    kept = Path().minutes("..x.").closed().record.text()
    assert kept == {"eth0": "..x."}
    again = Path(kept)
    assert again.success == 0.75
    assert again.minutes("xxxx").closed().record.text() == {"eth0": "..x.xxxx"}


def test_a_path_that_goes_and_comes_again_is_remembered() -> None:
    path = Path().minutes("xx").closed()
    path.record.follow_named({7: "wwan0"})
    assert path.success == 1.0
    assert path.record.text() == {"eth0": "xx", "wwan0": ""}
    path.record.follow_named({9: "eth0"})
    assert path.success == 0.0


@pytest.mark.parametrize(("text", "success"), [("junk", 1.0), ("x" * 500, 0.0), (".?x", 0.5)])
def test_what_is_none_of_ours_is_ignored(text: str, success: float) -> None:
    assert Path({"eth0": text}).success == success


def test_a_path_that_comes_up_has_no_outage_by_that_one_that_does_not_has() -> None:
    path = Path()
    path.look(path.minute * MINUTE_NS, alive=False)
    assert path.minutes(".").closed().success == 1.0
    down = Path()
    for minute in (10, 11):
        down.look(minute * MINUTE_NS, alive=False)
    assert down.success == 0.0


def test_score() -> None:
    assert health_scores(np.array([0.9, np.nan]), np.array([0.5, 1.0])) == pytest.approx(
        [45.0, np.nan], nan_ok=True
    )
