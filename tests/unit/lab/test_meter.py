"""Rates from two readings, and how they are shown."""

from __future__ import annotations

import pytest
from rich.console import Console

from mpbond.lab import meter
from mpbond.lab.meter import Reading

START = Reading(100.0, {"eth1": (10, 1_000), "eth2": (0, 0)})
LATER = Reading(102.0, {"eth1": (2010, 25_001_000), "eth2": (20, 0), "eth3": (5, 250_000)})


def test_rates_are_per_second_and_a_new_link_counts_from_nothing() -> None:
    assert meter.mbit(START, LATER) == pytest.approx({"eth1": 100.0, "eth2": 0.0, "eth3": 1.0})
    assert meter.packets(START, LATER) == {"eth1": 2000, "eth2": 20, "eth3": 5}


def test_no_time_is_no_error() -> None:
    assert meter.mbit(START, START) == {"eth1": 0.0, "eth2": 0.0}


def test_line() -> None:
    shown = meter.line(START, meter.mbit(START, LATER), LATER)
    assert shown == "    2.0 s  eth1  100.0  eth2    0.0  eth3    1.0  all  101.0 Mbit/s"


def test_table() -> None:
    console = Console(width=80, color_system=None, _environ={})
    with console.capture() as capture:
        console.print(meter.table(START, meter.mbit(START, LATER), LATER, full_mbit=200))
    lines = [line.rstrip() for line in capture.get().splitlines()]
    assert lines == [
        "   link    Mbit/s                            sent here",
        "   eth1     100.0  ████████████                  25.0M",
        "   eth2       0.0                                    0",
        "   eth3       1.0                               250.0k",
        "   all      101.0",
    ]


def test_a_stated_time_ends() -> None:
    until = meter.for_seconds(0.05)
    assert not until(0.01)
    assert until(1.0)
