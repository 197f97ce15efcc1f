"""Delays, queues and rates of made-up paths; what becomes of them in silence."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

from mpbond.estimate import PathEstimator
from mpbond.samples import FORWARD_UNKNOWN, Estimate
from tests.unit.estimates import BEGAN_NS, after, periods
from tests.unit.path_model import MS, SECOND, Counters, PathModel, Stretch, sample

NOTHING = Estimate()


@dataclass(frozen=True)
class Delay:
    why: str
    path: Stretch
    latency_ms: float
    pdv_ms: float
    within: float = 1e-6


DELAYS = [
    Delay("as long there as back", Stretch(20, 10), 10, 0),
    Delay("fractions of a millisecond", Stretch(20, 0.25), 0.25, 0),
    Delay("half of there and back", Stretch(20, 10, delay_back_ms=30), 20, 0),
    Delay("200 ms", Stretch(20, 200), 200, 0),
    # Of two independent halves; of 64 samples, so exact to some 10%.
    Delay("jitter", Stretch(20, 50, 5), 50, 5 / 2**0.5, within=0.35),
    Delay("losses do not count", Stretch(20, 10, loss=0.3), 10, 0),
]


@pytest.mark.parametrize("case", DELAYS, ids=lambda case: case.why)
def test_delay(case: Delay) -> None:
    found = after(PathModel(case.path), 20)
    assert found.latency_ms == pytest.approx(case.latency_ms, rel=case.within)
    assert found.pdv_ms == pytest.approx(case.pdv_ms, rel=case.within, abs=1e-6)


def test_pdv_is_right_on_average() -> None:
    model = PathModel(Stretch(60, 50, 5), probe_interval_ns=25 * MS)
    found = [estimates.pdv_ms[0] for _, estimates in periods([model], 60)][12:]
    assert np.mean(found) == pytest.approx(5 / 2**0.5, rel=0.05)


def test_the_mean_is_of_the_last_64() -> None:
    model = PathModel(Stretch(20, 10), Stretch(20, 30), probe_interval_ns=100 * MS)
    assert after(model, 23.3).latency_ms == pytest.approx(20, abs=1)
    assert after(model, 26.8).latency_ms == pytest.approx(30)


def test_from_the_first_answer_on_there_are_values() -> None:
    model = PathModel(Stretch(10, 300), probe_interval_ns=250 * MS)
    series = {at_s: found.at(0).latency_ms for at_s, found in periods([model], 1.1)}
    assert series == {0: None, 0.25: None, 0.5: None, 0.75: pytest.approx(300), 1.0: pytest.approx(300)}


# ---- life and silence ---------------------------------------------------------------------


def test_a_silent_path_has_no_values_and_its_last_ones_do_not_come_back() -> None:
    """failoverInterval is half a second here."""
    model = PathModel(Stretch(20, 10), Stretch(2, 10, loss=1), Stretch(10, 100))
    series = {at_s: found.at(0) for at_s, found in periods([model], 30)}
    assert series[20.25].latency_ms == pytest.approx(10)
    for at_s in (20.75, 21.0, 21.75, 22.0):
        assert replace(series[at_s], sent_bps=None) == NOTHING
    assert series[22.5].latency_ms == pytest.approx(100)
    assert series[22.5].queue_ms == pytest.approx(0, abs=0.01), "the floor of before has gone"


def test_a_controller_that_slept_finds_nobody_silent() -> None:
    model = PathModel(Stretch(20, 10), Stretch(3, probing=False), Stretch(5, 10))
    estimator = PathEstimator()
    estimator.follow([0])
    for _ in periods([model], 20, estimator=estimator):
        pass
    found = estimator.update(sample(BEGAN_NS + 23 * SECOND, [model.read(23 * SECOND)]))
    assert not found.silent[0]
    assert found.latency_ms[0] == pytest.approx(10)


def test_a_path_that_was_silent_when_it_was_first_looked_at_has_no_values() -> None:
    model = PathModel(Stretch(20, 10), Stretch(10, loss=1))
    found = [found.at(0) for _, found in periods([model], 30, since_s=25)]
    assert {estimate.latency_ms for estimate in found} == {None}


def test_a_ring_that_an_earlier_controller_saw_filled_counts_whole() -> None:
    found = [found.at(0) for _, found in periods([PathModel(Stretch(40, 50, 5))], 31, since_s=30)]
    assert found[0].pdv_ms == pytest.approx(5 / 2**0.5, rel=0.35)


def test_a_ring_that_began_anew_is_another_paths() -> None:
    """Without a word: the number of samples falls."""
    before, anew = PathModel(Stretch(40, 50, loss=0.5)), PathModel(Stretch(40, 20))
    estimator = PathEstimator()
    estimator.follow([0])
    *_, (_, found) = periods([before], 30, estimator=estimator)
    assert found.plr[0] > 0.3
    now_ns = BEGAN_NS + 30 * SECOND
    first = estimator.update(sample(now_ns, [anew.read(SECOND)])).at(0)
    assert (first.latency_ms, first.pdv_ms) == (pytest.approx(20), pytest.approx(0))
    assert estimator.update(sample(now_ns + SECOND, [anew.read(2 * SECOND)])).at(0).plr == 0


def test_a_peer_whose_clock_began_anew_is_measured_anew() -> None:
    before = PathModel(Stretch(40, 30))
    anew = PathModel(Stretch(40, 30), start=Counters(clock_ns=2**63 + 17))
    estimator = PathEstimator()
    estimator.follow([0])
    for _ in periods([before], 20, estimator=estimator):
        pass
    series = [found.at(0) for _, found in periods([anew], 30, since_s=20, estimator=estimator)]
    assert series[0] == replace(NOTHING, sent_bps=series[0].sent_bps)
    assert series[2].latency_ms == pytest.approx(30)
    assert (series[2].forward_ns or 0) % 2**64 == 2**63 + 17 + 30 * MS
    assert series[2].queue_ms == pytest.approx(0, abs=0.01)


def test_another_order_of_paths_keeps_what_is_known() -> None:
    models = [PathModel(Stretch(30, delay_ms)) for delay_ms in (10, 20, 30)]
    estimator = PathEstimator()
    estimator.follow([7, 8, 9])
    for _ in periods(models, 10, estimator=estimator):
        pass
    estimator.follow([9, 3, 7])
    estimator.forget([9])
    mixed = [models[2], PathModel(Stretch(30, 5)), models[0]]
    *_, (_, found) = periods(mixed, 10.5, since_s=10.25, estimator=estimator)
    assert found.latency_ms == pytest.approx([30, 5, 10])
    assert np.isnan(found.sent_bps).tolist() == [True, True, False], "no rate of one reading"
    assert estimator.of(3).latency_ms == pytest.approx(5)
    with pytest.raises(KeyError):
        estimator.of(8)


def test_before_the_first_look_nothing_is_known() -> None:
    estimator = PathEstimator()
    estimator.follow([5])
    assert estimator.of(5) == NOTHING


def test_a_path_cannot_be_followed_twice() -> None:
    with pytest.raises(ValueError, match="twice"):
        PathEstimator().follow([1, 1])


def test_no_paths() -> None:
    estimator = PathEstimator()
    estimator.follow([0])
    empty = {name: value[:0] for name, value in _arrays(PathModel(Stretch(1))).items()}
    estimator.follow([])
    assert estimator.update(replace(sample(5, [PathModel(Stretch(1)).read(0)]), **empty)).plr.shape == (0,)


def _arrays(model: PathModel) -> dict[str, np.ndarray]:
    return {name: np.array(value)[np.newaxis] for name, value in model.read(0).items()}


# ---- the way there ------------------------------------------------------------------------


@pytest.mark.parametrize("clock_ns", [0, 12345, 2**63 - 30 * MS, 2**64 - 5 * MS])
def test_forward_delays_differ_as_the_ways_there_do(clock_ns: int) -> None:
    """Whatever the peer's clock; the ways back are of no account."""
    start = Counters(clock_ns=clock_ns)
    models = [
        PathModel(Stretch(20, 10, delay_back_ms=90), start=start),
        PathModel(Stretch(20, 60, delay_back_ms=1), start=start),
    ]
    *_, (_, found) = periods(models, 10)
    assert FORWARD_UNKNOWN not in found.forward_ns
    assert np.diff(found.forward_ns) == pytest.approx([50 * MS], abs=10)


def test_a_queue_is_what_came_on_top() -> None:
    idle, busy = Stretch(30, 20), Stretch(20, 60, packets_per_s=1000, delay_back_ms=20)
    model = PathModel(idle, busy, Stretch(20, 20, packets_per_s=1000))
    series = {at_s: found.queue_ms[0] for at_s, found in periods([model], 70)}
    assert series[29.75] == pytest.approx(0, abs=0.01)
    assert series[35] == series[49.75] == pytest.approx(40, abs=0.1)
    assert series[55] == pytest.approx(0, abs=0.01)


def test_a_queue_on_the_way_back_is_not_ours() -> None:
    model = PathModel(Stretch(30, 20), Stretch(20, 20, packets_per_s=1000, delay_back_ms=80))
    assert after(model, 45).queue_ms == pytest.approx(0, abs=0.01)


def test_a_clock_that_drifts_is_no_queue() -> None:
    """The way there seems longer, but there and back is not."""
    drifting = Stretch(20, 60, packets_per_s=1000, delay_back_ms=20)
    model = PathModel(Stretch(30, 40, packets_per_s=1000), drifting)
    assert after(model, 45).queue_ms == pytest.approx(0, abs=0.01)


def test_what_is_recent_is_of_about_a_second() -> None:
    for interval_ms, recent_s in ((25, 0.5), (500, 1.25), (1250, 3)):
        model = PathModel(Stretch(20, 10), Stretch(20, 70), probe_interval_ns=interval_ms * MS)
        assert after(model, 20.3 + recent_s).recent_ms == pytest.approx(70)


def test_a_longer_way_is_no_queue() -> None:
    """Nothing was sent that could have queued."""
    assert after(PathModel(Stretch(30, 20), Stretch(20, 90)), 45).queue_ms == pytest.approx(0, abs=0.01)


def test_jitter_is_a_small_queue() -> None:
    """The least of a few probes is not the least of many."""
    model = PathModel(Stretch(60, 50, 5, packets_per_s=1000), probe_interval_ns=25 * MS)
    found = [estimates.queue_ms[0] for _, estimates in periods([model], 60)][40:]
    assert np.median(found) < 2 * 5
    assert np.max(found) < 4 * 5


# ---- rates ----------------------------------------------------------------------------------


def test_rates() -> None:
    model = PathModel(Stretch(20, packets_per_s=1000), Stretch(20), packet_bytes=1250)
    found = after(model, 20)
    assert found.sent_bps == pytest.approx(10e6, rel=0.01)
    assert found.delivered_bps == pytest.approx(10e6, rel=0.01)
    found = after(model, 25)
    assert (found.sent_bps, found.delivered_bps) == (0.0, 0.0)


def test_what_was_under_way_is_delivered_after_the_last_was_sent() -> None:
    model = PathModel(Stretch(20, 1500, packets_per_s=1000), Stretch(20, 1500), probe_interval_ns=500 * MS)
    found = after(model, 21.3)
    assert (found.sent_bps, found.delivered_bps) == (0, pytest.approx(8e6, rel=0.02))


def test_what_is_lost_is_not_delivered() -> None:
    found = after(PathModel(Stretch(20, loss=0.4, packets_per_s=2000)), 20)
    assert found.sent_bps == pytest.approx(16e6, rel=0.01)
    assert found.delivered_bps == pytest.approx(9.6e6, rel=0.15)


def test_the_figure_of_delivery_is_a_new_one_when_it_says_so() -> None:
    model = PathModel(Stretch(20, packets_per_s=1000))
    ends = [int(found.figure_ns[0]) for _, found in periods([model], 10)][3:]
    gaps = np.diff(ends)
    assert (gaps >= 0).all()
    assert gaps[gaps > 0].min() >= SECOND // 2
    assert ends[-1] - ends[0] == pytest.approx(9 * SECOND, abs=SECOND)
