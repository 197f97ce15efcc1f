"""What is reported of paths for a minute is what the emulator's log says was done.

`tests/bench/measured.py` is the same for more wires, with a table.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from mpbond.lab.schedule import Impairment
from tests.netns.truth import Bundle, compare_at_once, damaging

pytestmark = [pytest.mark.root, pytest.mark.netns]

LOSSY = Bundle(
    "lossy",
    [
        Impairment(10),
        Impairment(10, 20, loss=1),
        Impairment(50, 5, loss=10),
        Impairment(200, 0, loss=1),
        Impairment(200, 20),
    ],
    failover_ms=100,
    interval_us=1000,
)


def test_latency_variation_losses_and_errors_are_the_wires_own(tmp_path: Path) -> None:
    found = compare_at_once(tmp_path, [LOSSY, damaging(10, 50)], seconds=60)
    assert len(found) == 7
    assert {compared: compared.misses() for compared in found if compared.misses()} == {}
    for compared in found:
        if not (compared.wire.loss or compared.wire.corrupt):
            assert compared.reported.plr < 0.005
        if not compared.wire.corrupt:
            assert compared.reported.per == 0
