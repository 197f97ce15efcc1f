"""Reports between two ends over paths that die: what is sent, when, over which of them."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpbond.control_frames import Ack, PathMark, PathReport, PathState, Report, View, decode
from mpbond.reports import (
    BRISK_TRIES,
    LATELY_NS,
    LONGEST_PAUSE_NS,
    MOST_WAYS,
    Listener,
    Send,
    Teller,
    Timeliness,
)

MS = 1_000_000
# A probe interval: a quarter of a failoverInterval of 500 ms.
KEEP_UP_NS = 125 * MS


def view(*states: PathState, **changes: str) -> View:
    paths = tuple(PathReport(at, state, PathMark.ELIGIBLE) for at, state in enumerate(states))
    return View(changes.get("policy", "office"), 4, "1", 3, 500, paths)


UP = view(PathState.UP, PathState.UP)
WORSE = view(PathState.UP, PathState.DOWN)


def number_of(send: Send) -> int:
    report = decode(send.text)
    assert isinstance(report, Report)
    return report.number


def ack(teller: Teller, send: Send) -> None:
    report = decode(send.text)
    assert isinstance(report, Report)
    teller.acknowledged(Ack(send.path, report.number, report.part), send.path)


@dataclass
class Story:
    """A teller whose peer answers what `passes`, at once."""

    passes: Callable[[Send], bool] = lambda send: True
    teller: Teller = field(default_factory=Teller)
    now_ns: int = 0
    what: View = UP
    ways: tuple[int, ...] = (0, 1)

    def speak(self, ms: float = 0) -> list[int]:
        """The paths that something is sent over after so many ms."""
        self.now_ns += int(ms * MS)
        sends = self.teller.speak(self.what, self.ways, KEEP_UP_NS, self.now_ns)
        for send in sends:
            if self.passes(send):
                ack(self.teller, send)
        return [send.path for send in sends]


def test_one_at_once_then_keep_ups() -> None:
    story = Story()
    assert story.speak() == [0] and not story.teller.unheard
    assert story.teller.due_ns() == KEEP_UP_NS
    assert story.speak(124.9) == [] and story.speak(0.1) == [0] and story.speak(1) == []


def test_news_at_once_measurements_with_the_keep_up() -> None:
    story = Story()
    story.speak()
    story.what = replace(UP, paths=(replace(UP.paths[0], latency_us=7), UP.paths[1]))
    assert story.speak(1) == []
    story.what = WORSE
    assert story.speak(1) == [0]
    story.what = replace(WORSE, policy="other")
    assert story.speak(1) == [0]


def test_what_is_not_answered_goes_over_the_others_too() -> None:
    story = Story(passes=lambda send: False, ways=(0, 1, 2, 3, 4))
    assert story.speak() == [0]
    assert story.teller.due_ns() == KEEP_UP_NS // 2
    assert story.speak(62) == []
    assert story.speak(0.5) == [0, 1, 2, 3] and len(story.ways) > MOST_WAYS


def test_while_in_doubt_all_goes_over_several_until_the_first_answers() -> None:
    story = Story(passes=lambda send: send.path == 1)
    story.speak()
    assert story.speak(63) == [0, 1] and not story.teller.unheard
    assert story.speak(125) == [0, 1], "a keep-up"
    story.what = WORSE
    assert story.speak(1) == [0, 1], "news"
    story.passes = lambda send: True
    assert story.speak(125) == [0, 1] and story.speak(125) == [0]


def test_when_the_first_path_goes_the_next_takes_over_at_once_with_what_is_in_flight() -> None:
    story = Story(passes=lambda send: False)
    assert story.speak() == [0]
    story.ways = (1,)
    assert story.speak(1) == [1], "no timer"
    assert story.teller.way == 1


def test_a_takeover_with_nothing_in_flight_sends_nothing() -> None:
    story = Story()
    story.speak()
    story.ways = (1, 0)
    assert story.speak(1) == [] and story.teller.way == 1
    story.what = WORSE
    assert story.speak(1) == [1]


def test_a_takeover_ends_the_doubt_about_the_path_before() -> None:
    story = Story(passes=lambda send: send.path != 0, ways=(0, 1, 2))
    story.speak()
    assert story.speak(63) == [0, 1, 2]
    story.ways = (1, 2)
    assert story.speak(125) == [1]


def test_news_do_not_put_off_the_doubt() -> None:
    """A change every 10 ms over a dead path: in half a keep-up the others carry it too."""
    story = Story(passes=lambda send: send.path == 1)
    taken: list[list[int]] = []
    for at in range(8):
        story.what = view(PathState.UP, PathState(at % 4))
        taken.append(story.speak(10))
    assert taken[:6] == [[0]] * 6 and taken[7:] == [[0, 1]]


def test_an_older_reports_ack_says_that_the_path_is_open() -> None:
    story = Story(passes=lambda send: False)
    (first,) = story.teller.speak(UP, (0, 1), KEEP_UP_NS, 0)
    story.teller.speak(WORSE, (0, 1), KEEP_UP_NS, 50 * MS)
    ack(story.teller, first)
    assert story.teller.unheard and story.teller.due_ns() == 50 * MS + KEEP_UP_NS // 2


def test_a_long_round_trip_is_waited_for() -> None:
    """600 ms: nothing is repeated only because the satellite is far."""
    teller, now_ns = Teller(), 0
    for _ in range(5):
        (only,) = teller.speak(UP, (0, 1), KEEP_UP_NS, now_ns, round_trip_ns=600 * MS)
        assert teller.due_ns() == now_ns + 600 * MS + KEEP_UP_NS // 2
        ack(teller, only)
        now_ns += 600 * MS


def test_pauses_grow_while_nobody_answers() -> None:
    story = Story(passes=lambda send: False)
    story.speak()
    pauses: list[int] = []
    for _ in range(12):
        before, story.now_ns = story.now_ns, story.teller.due_ns()
        assert story.speak() == [0, 1]
        pauses.append(story.now_ns - before)
    assert pauses[: BRISK_TRIES + 1] == [KEEP_UP_NS // 2] * (BRISK_TRIES + 1)
    assert pauses[-1] == LONGEST_PAUSE_NS and pauses == sorted(pauses)
    story.passes = lambda send: True
    story.speak(2000)
    assert story.teller.due_ns() <= story.now_ns + KEEP_UP_NS


def test_with_no_way_all_waits_for_one() -> None:
    story = Story(ways=())
    assert story.speak() == [] and story.teller.way is None
    assert story.speak(1000) == []
    story.ways = (1,)
    assert story.speak(1) == [1]


def test_a_new_session_is_told_anew() -> None:
    story = Story()
    story.speak()
    story.teller.renew()
    assert story.speak(1) == [0]


def test_acks_of_nothing_change_nothing() -> None:
    story = Story(passes=lambda send: False)
    story.speak()
    for wrong in (Ack(0, 1, 9), Ack(0, 99, 0)):
        story.teller.acknowledged(wrong, 7)
        story.teller.acknowledged(wrong, None)
        assert story.teller.unheard


# ---- listening ------------------------------------------------------------------------------


def report(number: int, made_ns: int = 0, part: int = 0, parts: int = 1, what: View = UP) -> Report:
    return Report(number, made_ns, 0, part, parts, what)


def test_each_report_is_heard_once_and_no_older_one_after_it() -> None:
    listener = Listener()
    assert listener.heard is None
    assert listener.take(report(2, what=WORSE), 5)
    assert not listener.take(report(2), 6) and not listener.take(report(1), 7)
    assert listener.heard is not None
    assert (listener.heard.view, listener.heard.heard_ns, listener.reports) == (WORSE, 5, 1)


def test_a_view_is_heard_when_all_its_parts_are_there_in_any_order() -> None:
    listener = Listener()
    assert listener.take(report(1), 0)
    last = replace(UP, paths=UP.paths[1:])
    assert not listener.take(report(2, part=1, parts=2, what=last), 1)
    assert not listener.take(report(2, part=1, parts=2, what=last), 2), "again"
    assert listener.take(report(2, part=0, parts=2, what=replace(UP, paths=UP.paths[:1])), 3)
    assert listener.heard is not None and listener.heard.view == UP


def test_a_newer_report_ends_the_wait_for_an_older_ones_parts() -> None:
    listener = Listener()
    listener.take(report(1, part=0, parts=2), 0)
    assert listener.take(report(2), 1)
    assert not listener.take(report(1, part=1, parts=2), 2)


def test_after_a_new_session_numbers_begin_anew() -> None:
    listener = Listener()
    listener.take(report(900), 0)
    listener.renew()
    assert listener.take(report(1, what=WORSE), 1)


def test_gaps_and_lateness() -> None:
    """The peer's clock is an hour ahead."""
    listener, hour = Listener(), 3_600_000 * MS
    assert listener.timeliness(7) == Timeliness(0, 0, 0)
    for number, (made, at) in enumerate([(0, 10), (100, 110), (200, 350)], 1):
        listener.take(replace(report(number, hour + made * MS), stall_us=1000 * number), at * MS)
    assert listener.timeliness(360 * MS) == Timeliness(240 * MS, 140 * MS, 3 * MS)
    assert listener.timeliness(900 * MS).gap_ns == 550 * MS, "since the last one"
    later_ns = 350 * MS + LATELY_NS + 1
    assert listener.timeliness(later_ns) == Timeliness(later_ns - 350 * MS, 0, 0), "forgotten"


def test_a_stall_of_its_own_is_told_once() -> None:
    """Nothing else is: neither the wait for an answer nor for a path."""
    teller = Teller()

    def stall_ms(at_ms: float, what: View = UP, ways: tuple[int, ...] = (0,)) -> float:
        (send, *_) = teller.speak(what, ways, KEEP_UP_NS, int(at_ms * MS))
        found = decode(send.text)
        assert isinstance(found, Report)
        ack(teller, send)
        return found.stall_us / 1000

    assert stall_ms(0) == 0
    assert stall_ms(125) == 0
    assert stall_ms(290) == 40
    assert stall_ms(415) == 0
    assert stall_ms(430, WORSE) == 0, "news, before anything was due"
    assert teller.speak(WORSE, (), KEEP_UP_NS, 1000 * MS) == []
    assert stall_ms(5000) == 0


# ---- both, over paths that die ----------------------------------------------------------------


@dataclass
class Network:
    """A teller, a listener and paths between, with 3 ms each way: `open_ns` says from when
    on a path is cut. The teller learns of it `down_ns` later: failoverInterval."""

    cut_ns: dict[int, int]
    loss: float = 0.0
    down_ns: int = 4 * KEEP_UP_NS
    seed: int = 0
    changes_ns: tuple[int, ...] = ()
    heard_ns: list[int] = field(default_factory=list)
    late_ns: list[int] = field(default_factory=list)

    def run(self, until_ns: int) -> None:
        dice, teller, listener = random.Random(self.seed), Teller(), Listener()
        flying: list[tuple[int, int, int, Report | Ack]] = []
        now_ns, at = 0, 0
        changes = sorted([*self.changes_ns, *(ns + self.down_ns for ns in self.cut_ns.values())])
        while now_ns < until_ns:
            while flying and flying[0][0] <= now_ns:
                _, _, path, what = heapq.heappop(flying)
                if isinstance(what, Ack):
                    teller.acknowledged(what, path)
                    continue
                if listener.take(what, now_ns):
                    self.heard_ns.append(now_ns)
                    self.late_ns.append(now_ns - what.made_ns)
                at += 1
                self._fly(flying, dice, path, Ack(path, what.number, what.part), now_ns, at)
            for send in teller.speak(self._view(now_ns), self._ways(now_ns), KEEP_UP_NS, now_ns):
                found = decode(send.text)
                assert isinstance(found, Report)
                at += 1
                self._fly(flying, dice, send.path, found, now_ns, at)
            later = [ns for ns in changes if ns > now_ns][:1]
            now_ns = min([teller.due_ns(), *later, *([flying[0][0]] if flying else [])])

    def _fly(
        self,
        flying: list[tuple[int, int, int, Report | Ack]],
        dice: random.Random,
        path: int,
        what: Report | Ack,
        now_ns: int,
        at: int,
    ) -> None:
        if now_ns < self.cut_ns.get(path, now_ns + 1) and dice.random() >= self.loss:
            heapq.heappush(flying, (now_ns + 3 * MS, at, path, what))

    def _ways(self, now_ns: int) -> tuple[int, ...]:
        gone = {path for path, ns in self.cut_ns.items() if now_ns >= ns + self.down_ns}
        return tuple(path for path in range(3) if path not in gone)

    def _view(self, now_ns: int) -> View:
        turn = sum(ns <= now_ns for ns in self.changes_ns) % 2
        return WORSE if turn else UP

    @property
    def longest_gap_ns(self) -> int:
        return max(after - before for before, after in pairwise(self.heard_ns))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(300, 700),
    st.lists(st.integers(0, 1500), max_size=60),
    st.integers(0, 3),
)
def test_no_report_is_missed_for_two_probe_intervals_when_the_first_path_is_cut(
    cut_ms: int, changes_ms: list[int], seed: int
) -> None:
    """Nor is any late by more, whenever the cut comes and whatever changes about it."""
    net = Network({0: cut_ms * MS}, changes_ns=tuple(ms * MS for ms in changes_ms), seed=seed)
    net.run(1500 * MS)
    assert net.longest_gap_ns <= 2 * KEEP_UP_NS
    assert max(net.late_ns) <= KEEP_UP_NS


def test_two_of_three_paths_cut_at_once() -> None:
    net = Network({0: 333 * MS, 1: 333 * MS})
    net.run(1500 * MS)
    assert net.longest_gap_ns <= 2 * KEEP_UP_NS


@pytest.mark.parametrize("seed", range(4))
def test_with_loss_all_is_heard_in_the_end(seed: int) -> None:
    net = Network({0: 333 * MS}, loss=0.2, seed=seed)
    net.run(6000 * MS)
    assert net.longest_gap_ns <= 5 * KEEP_UP_NS
    assert len(net.heard_ns) >= 0.6 * 6000 * MS / KEEP_UP_NS
