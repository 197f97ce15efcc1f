"""Whatever a path does and whatever is read: estimates are possible ones, and a path's
own, and no counter's beginning or wrap makes a difference."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpbond.abi import RTT_SAMPLES
from mpbond.estimate import PathEstimator
from mpbond.ratio import WINDOWS, ratios
from mpbond.samples import Sample
from tests.unit.estimates import BEGAN_NS, PERIOD_NS
from tests.unit.path_model import MS, SECOND, Counters, PathModel, Stretch, sample

EXAMPLES = settings(max_examples=40, deadline=None, database=None)
RATIO = st.one_of(st.just(0.0), st.just(1.0), st.floats(0, 1))
STRETCHES = st.builds(
    Stretch,
    seconds=st.floats(0.1, 8),
    delay_ms=st.floats(0.01, 400),
    jitter_ms=st.sampled_from((0.0, 0.0, 2.0, 50.0)),
    loss=RATIO,
    loss_back=RATIO,
    errors=RATIO,
    packets_per_s=st.sampled_from((0, 10, 300)),
    probing=st.booleans(),
)
COUNTERS = st.builds(
    Counters,
    rtt_count=st.integers(0, 2**32 - 1),
    probes=st.integers(0, 2**32 - 1),
    sent=st.integers(0, 2**32 - 1),
    received=st.integers(0, 2**32 - 1),
    clock_ns=st.integers(1, 2**64 - 1),
)
# Probed from the first moment, or there is no path.
BEGIN = Stretch(0.2, packets_per_s=10)
PATHS = st.builds(
    lambda stretches, seed, interval_ms, start: PathModel(
        BEGIN, *stretches, seed=seed, probe_interval_ns=interval_ms * MS, start=start
    ),
    st.lists(STRETCHES, min_size=1, max_size=4),
    st.integers(0, 1000),
    st.sampled_from((5, 25, 125, 1250)),
    COUNTERS,
)
# From one reading to the next: mostly a period, at times a stall.
TIMES = st.lists(
    st.sampled_from((PERIOD_NS,) * 5 + (1 * MS, 3 * SECOND, 90 * SECOND)), min_size=1, max_size=60
)


@given(PATHS, TIMES)
@EXAMPLES
def test_estimates_are_possible(model: PathModel, gaps: list[int]) -> None:
    estimator = PathEstimator()
    estimator.follow([0])
    for at_ns in np.cumsum(gaps).tolist():
        row = model.read(at_ns)
        found = estimator.update(sample(BEGAN_NS + at_ns, [row]))
        values = found.values[0]
        assert np.isnan(values[:2]).all() == bool(found.silent[0])
        if found.silent[0]:
            assert np.isnan(values).all()
            assert np.isnan(found.queue_ms[0])
            continue
        taken_ms = row["rtt_ns"][row["rtt_ns"] > 0] / 2e6
        assert taken_ms.min() - 1e-6 <= found.latency_ms[0] <= taken_ms.max() + 1e-6
        assert 0 <= found.pdv_ms[0] <= np.ptp(taken_ms) / 2 + 1e-6
        assert found.queue_ms[0] >= 0
        for value, least in ((found.plr[0], found.plr_least[0]), (found.per[0], found.per_least[0])):
            assert np.isnan(value) == np.isnan(least)
            assert np.isnan(value) or 0 <= least <= value <= 1
        assert not found.sent_bps[0] < 0
        assert not found.delivered_bps[0] < 0


@given(st.lists(PATHS, min_size=2, max_size=4), st.integers(4, 60))
@EXAMPLES
def test_a_path_is_looked_at_for_itself(models: list[PathModel], count: int) -> None:
    together, alone = PathEstimator(), PathEstimator()
    together.follow(range(len(models)))
    alone.follow([0])
    for at_ns in range(0, count * PERIOD_NS, PERIOD_NS):
        found = together.update(sample(BEGAN_NS + at_ns, [model.read(at_ns) for model in models]))
        single = alone.update(sample(BEGAN_NS + at_ns, [models[0].read(at_ns)]))
        for field in fields(found):
            one, all_of_them = getattr(single, field.name), getattr(found, field.name)
            np.testing.assert_allclose(one, all_of_them[:1], rtol=1e-9)


@given(st.lists(STRETCHES, min_size=1, max_size=4), st.integers(0, 1000), COUNTERS, st.integers(4, 80))
@EXAMPLES
def test_where_counters_stand_makes_no_difference(
    stretches: list[Stretch], seed: int, start: Counters, count: int
) -> None:
    plain = Counters(rtt_count=min(start.rtt_count, RTT_SAMPLES), clock_ns=2**40)
    estimators = []
    for begins in (plain, start):
        model = PathModel(BEGIN, *stretches, seed=seed, start=begins)
        estimator = PathEstimator()
        estimator.follow([0])
        estimators.append(
            [
                estimator.update(sample(BEGAN_NS + at_ns, [model.read(at_ns)]))
                for at_ns in range(0, count * PERIOD_NS, PERIOD_NS)
            ]
        )
    for one, other in zip(*estimators, strict=True):
        np.testing.assert_allclose(one.values, other.values, rtol=1e-9)
        np.testing.assert_allclose(one.queue_ms, other.queue_ms, atol=1e-3)
        np.testing.assert_allclose(one.sent_bps, other.sent_bps)


WORDS = {32: st.integers(0, 2**32 - 1), 64: st.integers(0, 2**63 - 1)}


@st.composite
def rubbish(draw: st.DrawFn) -> dict[str, np.ndarray]:
    """What no kernel would write."""
    small, large = WORDS[32], WORDS[64]
    return {
        "failover_ns": np.array([draw(st.integers(20 * MS, 60 * SECOND))]),
        "probe_interval_ns": np.array([draw(st.integers(5 * MS, 15 * SECOND))]),
        "silence_ns": np.array([draw(st.sampled_from((0, 1, 2**63 - 1)))]),
        "rtt_ns": np.full((1, RTT_SAMPLES), draw(small), np.uint32),
        "forward_ns": np.full((1, RTT_SAMPLES), draw(large), np.uint64),
        **{
            name: np.array([draw(small)], np.uint32)
            for name in ("rtt_count", "probe_highest", "sent_packets", "received_packets")
        },
        **{
            name: np.array([draw(large)], np.uint64)
            for name in ("probes_answered", "answered_at_ns", "passed_packets", "failed_packets")
        },
        **{name: np.array([draw(small)], np.uint64) for name in ("tx_packets", "tx_bytes")},
    }


@given(st.lists(rubbish(), min_size=2, max_size=8))
@EXAMPLES
def test_rubbish_makes_no_losses(readings: list[dict[str, np.ndarray]]) -> None:
    """Values or none, but ratios within their bounds, and no warning of numpy's."""
    estimator = PathEstimator()
    estimator.follow([0])
    for number, arrays in enumerate(readings):
        found = estimator.update(Sample(now_ns=BEGAN_NS + number * PERIOD_NS, **arrays))
        assert np.isnan(found.plr[0]) or 0 <= found.plr[0] <= 1
        assert np.isnan(found.per[0]) or 0 <= found.per[0] <= 1


COUNTS = st.lists(
    st.tuples(st.integers(-50, 10_000), st.integers(0, 20_000)), min_size=len(WINDOWS), max_size=len(WINDOWS)
)


@given(COUNTS, st.floats(0, 1000))
@settings(max_examples=200, deadline=None, database=None)
def test_ratios_are_ratios(steps: list[tuple[int, int]], doubt: float) -> None:
    """Windows hold one another: each has all of the shorter one and more."""
    bad, every = np.cumsum(steps, axis=0).T
    found = ratios(bad.reshape(1, -1, 1), every.reshape(1, -1, 1), np.array([[doubt]]))
    value, least = found.value.item(), found.least.item()
    if np.isnan(value):
        assert every[0] == 0
    else:
        assert 0 <= least <= value <= 1
        quotients = [min(max(b, 0) / e, 1) for b, e in zip(bad.tolist(), every.tolist(), strict=True) if e]
        assert any(value == pytest.approx(quotient) for quotient in quotients)
