"""How often paths are probed, by the policy's failoverInterval."""

from __future__ import annotations

import pytest

from mpbond.controller.prober import interval_ns


@pytest.mark.parametrize(
    ("failover_ms", "interval_ms"),
    [(20, 5), (21, 5.25), (100, 25), (500, 125), (5000, 1250), (60_000, 15_000), (8, 5)],
)
def test_probe_interval(failover_ms: int, interval_ms: float) -> None:
    assert interval_ns(failover_ms) == interval_ms * 1_000_000
