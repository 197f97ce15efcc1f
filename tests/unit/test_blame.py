"""Losses that are held against a link, and those that come of its being full."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest

from mpbond.blame import Blame

S = 1_000_000_000
PERIOD_NS = S // 4


@dataclass(frozen=True)
class Case:
    """Stretches of (seconds, loss, does a queue stand); what counts in the end. A queue
    makes a link full."""

    why: str
    seen: tuple[tuple[float, float, bool], ...]
    counts: float


CASES = [
    Case("a loss that lasts", ((5, 0.2, False),), 0.2),
    Case("a moment's loss", ((1.5, 0.2, False),), 0.0),
    Case("it has to last without a break", ((1.5, 0.2, False), (0.25, 0.0, False), (1.5, 0.2, False)), 0.0),
    Case("however small", ((5, 0.0001, False),), 0.0001),
    Case("a queue stands: whatever is lost is too much for the link", ((5, 0.4, True),), 0.0),
    Case("TCP starts: the queue shows a little later", ((1, 0.18, False), (5, 0.16, True)), 0.0),
    Case("and what is left of that in the estimate", ((5, 0.18, True), (15, 0.12, False)), 0.0),
    Case("full a while ago: what TCP loses by itself", ((5, 0.01, True), (30, 0.04, False)), 0.0),
    Case("but no more than that", ((5, 0.01, True), (30, 0.06, False)), 0.06),
    Case("and not for ever", ((5, 0.01, True), (63, 0.04, False)), 0.04),
    Case("nothing known", ((5, math.nan, False),), 0.0),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.why)
def test_what_counts(case: Case) -> None:
    blame, now_ns, filled_ns, found = Blame(), 1000 * S, 0, math.nan
    blame.follow([7])
    lost = np.array([2**32 - 2], np.uint32)
    for seconds, loss, queueing in case.seen:
        for _ in range(int(seconds * S / PERIOD_NS)):
            now_ns += PERIOD_NS
            filled_ns = now_ns if queueing else filled_ns
            lost = lost + np.uint32(loss > 0)
            link = np.array([queueing]), np.array([filled_ns])
            found = float(blame.fault(now_ns, np.array([loss]), lost, *link)[0])
    assert found == case.counts


@pytest.mark.parametrize(("outages", "counts"), [(1, 0.0), (2, 0.0), (3, 0.3)])
def test_an_outage_is_one_loss(outages: int, counts: float) -> None:
    """Ten packets at once, and the estimate has them for a while."""
    blame, now_ns, lost = Blame(), 1000 * S, np.zeros(1, np.uint32)
    blame.follow([7])
    blame.fault(now_ns, np.zeros(1), lost, np.zeros(1, bool), np.zeros(1, np.int64))
    nothing = np.zeros(1, bool), np.zeros(1, np.int64)
    for _ in range(outages):
        lost = lost + np.uint32(10)
        for _ in range(20):
            now_ns += PERIOD_NS
            found = blame.fault(now_ns, np.array([0.3]), lost, *nothing)
    assert found[0] == counts
