"""Losses and errors of made-up paths: how exact, how soon told, how soon forgotten."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest

from mpbond.estimate import PathEstimator
from mpbond.wire import DAMAGE_SEEN
from tests.unit.estimates import BEGAN_NS, PERIOD_NS, after, periods
from tests.unit.path_model import MS, Counters, PathModel, Stretch, sample

SEEDS = range(4)
SLOW_NS, FAST_NS = 125 * MS, 25 * MS


def plr_of(model: PathModel, seconds: float) -> npt.NDArray[np.float64]:
    """(time, plr) of each period."""
    return np.array([(at_s, found.plr[0]) for at_s, found in periods([model], seconds)])


@dataclass(frozen=True)
class Steady:
    """`reported` within `within` of itself at 19 of 20 readings of the second minute."""

    why: str
    path: Stretch
    reported: float
    within: float
    probe_interval_ns: int = FAST_NS


STEADY = [
    Steady("1% of a 1 ms stream", Stretch(120, loss=0.01, packets_per_s=1000), 0.01, 0.2),
    Steady("10% of a 1 ms stream", Stretch(120, loss=0.1, packets_per_s=1000), 0.1, 0.05),
    Steady("both ways: that of the way there", Stretch(120, 10, 0, 0.1, 0.1, 0, 1000), 0.1, 0.06),
    Steady("1% while packets overtake", Stretch(120, 50, 20, loss=0.01, packets_per_s=1000), 0.01, 0.3),
    Steady("probes alone, one way", Stretch(120, loss=0.1), 0.1, 0.3),
    Steady("probes alone: there and back", Stretch(120, loss=0.1, loss_back=0.1), 0.19, 0.25),
    Steady("1% of 50 packets a second", Stretch(120, loss=0.01, packets_per_s=50), 0.01, 0.55, SLOW_NS),
]


@pytest.mark.parametrize("case", STEADY, ids=lambda case: case.why)
def test_a_steady_loss_is_reported_as_it_is(case: Steady) -> None:
    for seed in SEEDS:
        model = PathModel(case.path, seed=seed, probe_interval_ns=case.probe_interval_ns)
        late = plr_of(model, 120)[240:, 1]
        assert (np.abs(late - case.reported) <= case.within * case.reported).mean() >= 0.95


@pytest.mark.parametrize("jitter_ms", [0, 1, 5, 20])
def test_no_loss_is_made_up_where_packets_overtake(jitter_ms: float) -> None:
    for seed in SEEDS:
        path = Stretch(60, 50, jitter_ms, packets_per_s=1000)
        model = PathModel(path, seed=seed, probe_interval_ns=2 * FAST_NS)
        found = [(estimates.plr[0], estimates.plr_least[0]) for _, estimates in periods([model], 60)]
        value, least = np.array(found[120:]).T
        assert value.mean() <= 0.0001 * jitter_ms
        assert (least > 0).mean() < 0.01


def test_a_path_without_losses_has_none_from_the_first_reading_on() -> None:
    model = PathModel(Stretch(30, 80, packets_per_s=3000), probe_interval_ns=FAST_NS)
    assert set(plr_of(model, 30)[2:, 1]) == {0.0}


@dataclass(frozen=True)
class Change:
    """`within_s` after it, and for 2 s from then, the loss reported is `least` to `most`."""

    before: float
    after: float
    packets_per_s: float
    within_s: float
    least: float
    most: float


CHANGES = [
    Change(0, 0.2, 1000, 3, 0.15, 0.25),
    Change(0.2, 0, 1000, 3, 0, 0.002),
    Change(0.01, 0.05, 1000, 8, 0.035, 0.065),
    Change(0.05, 0.01, 1000, 8, 0.007, 0.014),
    Change(0, 0.01, 1000, 15, 0.007, 0.014),
    Change(0.01, 0, 1000, 10, 0, 0.002),
    Change(0, 0.2, 50, 10, 0.13, 0.28),
    Change(0.2, 0, 50, 10, 0, 0.002),
    Change(0, 0.2, 0, 30, 0.1, 0.32),
    Change(0.2, 0, 0, 30, 0, 0.03),
]


@pytest.mark.parametrize("case", CHANGES, ids=str)
def test_a_change_is_told(case: Change) -> None:
    for seed in SEEDS:
        model = PathModel(
            Stretch(65, loss=case.before, packets_per_s=case.packets_per_s),
            Stretch(40, loss=case.after, packets_per_s=case.packets_per_s),
            seed=seed,
            probe_interval_ns=FAST_NS if case.packets_per_s == 1000 else SLOW_NS,
        )
        series = plr_of(model, 65 + case.within_s + 2)
        told = series[series[:, 0] >= 65 + case.within_s, 1]
        assert ((told >= case.least) & (told <= case.most)).all(), told


def test_what_is_proven_is_less_than_what_is_reported() -> None:
    model = PathModel(Stretch(30, loss=0.05, packets_per_s=200))
    for _, found in periods([model], 30):
        assert np.isnan(found.plr[0]) or 0 <= found.plr_least[0] <= found.plr[0]
    assert 0.03 < found.plr_least[0] < 0.05


WRAPPING = Counters(
    rtt_count=2**32 - 100,
    probes=2**32 - 300,
    sent=2**32 - 5000,
    received=2**32 - 7000,
    clock_ns=2**64 - 10**10,
)


def test_counters_that_wrap_change_nothing() -> None:
    path = Stretch(30, 20, 2, loss=0.02, packets_per_s=500)
    plain, wrapping = (PathModel(path, start=start) for start in (Counters(), WRAPPING))
    for _, found in periods([plain, wrapping], 30):
        np.testing.assert_array_equal(found.values[0], found.values[1])
        assert found.delivered_bps[0] == pytest.approx(found.delivered_bps[1], nan_ok=True)


def test_a_peer_that_counts_anew_has_lost_nothing() -> None:
    """It was rebooted within failoverInterval: what it says it got falls to nothing. And
    later losses are as well seen."""
    path = Stretch(30, packets_per_s=1000), Stretch(30, loss=0.1, packets_per_s=1000)
    before, anew = PathModel(*path), PathModel(*path, start=Counters(received=2**32 - 20_000))
    estimator = PathEstimator()
    estimator.follow([0])
    for _ in periods([before], 20, estimator=estimator):
        pass
    for _, found in periods([anew], 30, since_s=20, estimator=estimator):
        assert found.plr[0] == 0.0
    *_, (_, found) = periods([anew], 40, since_s=30, estimator=estimator)
    assert found.plr[0] == pytest.approx(0.1, rel=0.1)


def test_what_was_lost_while_the_path_was_down_does_not_count() -> None:
    model = PathModel(Stretch(20, packets_per_s=100), Stretch(10, loss=1), Stretch(10, packets_per_s=100))
    assert after(model, 40).plr == 0.0


def test_losses_from_before_the_path_was_down_do() -> None:
    model = PathModel(Stretch(20, loss=0.3, packets_per_s=100), Stretch(2, loss=1), Stretch(10))
    assert after(model, 22.3).plr == pytest.approx(0.3, rel=0.1)


def test_what_was_lost_more_than_a_minute_ago_is_forgotten_over_a_stall() -> None:
    model = PathModel(Stretch(20, loss=0.3), Stretch(80))
    estimator = PathEstimator()
    estimator.follow([0])
    for _ in periods([model], 79, estimator=estimator):
        pass
    for _, found in periods([model], 90, since_s=88, estimator=estimator):
        assert found.plr[0] == 0.0


# ---- errors -----------------------------------------------------------------------------


def test_errors_are_those_seen_and_those_that_cannot_be() -> None:
    model = PathModel(Stretch(60, errors=0.1 * DAMAGE_SEEN), probe_interval_ns=5 * MS)
    assert after(model, 60).per == pytest.approx(0.1, rel=0.1)


def test_no_errors() -> None:
    found = after(PathModel(Stretch(20, loss=0.1)), 20)
    assert (found.per, found.plr) == (0.0, pytest.approx(0.1, abs=0.06))


def test_minutes_of_many_millions_of_packets_a_second_are_counted() -> None:
    """10^7 a second: the sums of a path wrap within four minutes."""
    model = PathModel(Stretch(1))
    estimator = PathEstimator()
    estimator.follow([0])
    reading, found = model.read(0), []
    for period in range(1200):
        sent = np.uint32(period * 2_500_000 % 2**32)
        received = np.uint32(period * 2_475_000 % 2**32)
        counted = np.uint64(period)
        reading |= {"sent_packets": sent, "received_packets": received, "rtt_count": np.uint32(period + 1)}
        reading |= {"probes_answered": counted, "probe_highest": np.uint32(period), "silence_ns": np.int64(0)}
        reading |= {"answered_at_ns": np.uint64(10**12 + period * PERIOD_NS)}
        found.append(estimator.update(sample(BEGAN_NS + period * PERIOD_NS, [reading])).plr[0])
    assert found[4:] == pytest.approx([0.01] * len(found[4:]), rel=0.01)
