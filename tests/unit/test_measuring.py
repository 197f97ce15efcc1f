"""From the maps to scores: what is read, what is told, and whose it is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mpbond import abi
from mpbond.config.model import LinkQuality
from mpbond.controller.measuring import NEWS, Measuring, read_sample, write_head_starts
from mpbond.samples import Estimate

MS = 1_000_000
BLOCK = 4
LIMITS = LinkQuality()
NOW_NS = 10**12


def plane(bonds: int = 3, cpus: int = 2) -> Any:
    """As much of a data plane as is read here; every path proved, with a full ring of
    20 ms round trips."""
    made = SimpleNamespace(
        block=BLOCK,
        bonds=np.zeros(bonds, abi.BOND),
        bonds_live=np.zeros(bonds, abi.BOND_LIVE),
        paths_live=np.zeros(bonds * BLOCK, abi.PATH_LIVE),
        path_stats=np.zeros((bonds * BLOCK, cpus), abi.PATH_STATS),
    )
    made.bonds["failover_ns"] = 100 * MS
    made.bonds_live["clock_ns"] = 50 * MS
    made.paths_live["proof_ns"] = 40 * MS
    made.paths_live["rtt_count"] = 64
    made.paths_live["rtt_ns"] = 20 * MS
    return made


def probe(here: Any, paths: list[int], rtt_ms: float, count: int = 64) -> None:
    here.paths_live["rtt_ns"][paths] = int(rtt_ms * MS)
    here.paths_live["rtt_count"][paths] += count


def follow(measuring: Measuring, *paths: int, meaning: str = "path", limits: LinkQuality = LIMITS) -> None:
    measuring.follow({path: (f"{meaning} {path}", limits) for path in paths})


def test_every_counter_is_read_from_its_field() -> None:
    here = plane()
    fields = {
        "rtt_count": "rtt_count",
        "probe_highest": "answered_highest",
        "probes_answered": "probes_answered",
        "sent_packets": "paired_sent",
        "received_packets": "paired_received",
        "answered_at_ns": "answer_stamp",
        "passed_packets": "checked",
        "failed_packets": "failed",
    }
    for number, field in enumerate(fields.values(), 1):
        here.paths_live[field] = 1000 * number + np.arange(3 * BLOCK)
    here.paths_live["forward_ns"] = np.arange(64)
    here.path_stats["tx_packets"][6] = [3, 4]
    here.path_stats["tx_bytes"][6] = [300, 400]
    found = read_sample(here, np.array([1, 6]), NOW_NS)
    for number, name in enumerate(fields, 1):
        assert getattr(found, name).tolist() == [1000 * number + 1, 1000 * number + 6], name
    assert found.rtt_ns.tolist() == [[20 * MS] * 64] * 2
    assert found.forward_ns.tolist() == [list(range(64))] * 2
    assert (found.tx_packets.tolist(), found.tx_bytes.tolist()) == ([0, 7], [0, 700])
    assert found.now_ns == NOW_NS


def test_intervals_and_silence_are_those_of_the_bond() -> None:
    here = plane()
    here.bonds["failover_ns"] = [20 * MS, 16 * MS, 5000 * MS]
    here.bonds_live["clock_ns"] = [100 * MS, 200 * MS, 2**63 + 5]
    here.paths_live["proof_ns"][[0, 4, 5, 8]] = [99 * MS, 200 * MS, 0, 2**63 + 2]
    found = read_sample(here, np.array([0, 4, 5, 8]), NOW_NS)
    assert found.failover_ns.tolist() == [20 * MS, 16 * MS, 16 * MS, 5000 * MS]
    assert found.probe_interval_ns.tolist() == [5 * MS, 5 * MS, 5 * MS, 1250 * MS]
    assert found.silence_ns.tolist() == [1 * MS, 0, np.iinfo(np.int64).max, 3]


def test_no_paths() -> None:
    measuring, here = Measuring(), plane()
    write_head_starts(here, measuring.paths, measuring.update(here, NOW_NS))
    assert measuring.news() == []


def test_what_has_not_changed_is_not_told_again() -> None:
    measuring, here = Measuring(), plane()
    follow(measuring, 4, 1)
    measuring.update(here, NOW_NS)
    told = measuring.news()
    assert [path for path, _ in told] == [1, 4]
    assert told[0][1] == measuring.score(1) == pytest.approx(0.75 + 0.25 * np.exp(-4 * 10 / 500))
    probe(here, [1, 4], 20.1)
    measuring.update(here, NOW_NS + 250 * MS)
    assert measuring.news() == []
    assert measuring.score(1) != told[0][1], "a listing has it as it is"
    probe(here, [4], 40)
    measuring.update(here, NOW_NS + 500 * MS)
    assert [path for path, _ in measuring.news()] == [4]


def test_small_changes_add_up_to_news() -> None:
    measuring, here = Measuring(), plane()
    follow(measuring, 1)
    told = []
    for step in range(40):
        probe(here, [1], 20 + step / 4)
        measuring.update(here, NOW_NS + step * 250 * MS)
        told += [score for _, score in measuring.news()]
    steps = np.abs(np.diff(told))
    assert 2 <= len(told) <= 10
    assert (steps >= NEWS).all()


def test_a_silent_path_is_no_news() -> None:
    measuring, here = Measuring(), plane()
    follow(measuring, 1, 2)
    measuring.update(here, NOW_NS)
    assert len(measuring.news()) == 2
    here.bonds_live["clock_ns"] += np.uint64(200 * MS)
    here.paths_live["proof_ns"][2] += np.uint64(200 * MS)
    measuring.update(here, NOW_NS + 250 * MS)
    assert (measuring.score(1), measuring.of(1).latency_ms) == (None, None)
    assert measuring.score(2) is not None
    assert measuring.news() == []


def test_another_path_under_an_index_is_known_nothing_of() -> None:
    measuring, here = Measuring(), plane()
    follow(measuring, 1, 2)
    measuring.update(here, NOW_NS)
    measuring.follow({1: ("another", LIMITS), 2: ("path 2", LIMITS)})
    here.paths_live[1] = np.zeros((), abi.PATH_LIVE)
    measuring.update(here, NOW_NS + 250 * MS)
    assert measuring.of(1) == Estimate(sent_bps=None)
    assert measuring.of(2).latency_ms == pytest.approx(10)


def test_other_limits_are_other_scores_at_once() -> None:
    measuring, here = Measuring(), plane()
    follow(measuring, 1)
    measuring.update(here, NOW_NS)
    before = measuring.score(1)
    follow(measuring, 1, limits=LinkQuality(lat_max_ms=10))
    measuring.update(here, NOW_NS)
    assert measuring.news() == [(1, pytest.approx(0.75 + 0.25 * np.exp(-4)))]
    assert before == pytest.approx(0.75 + 0.25 * np.exp(-0.08))


def test_the_slowest_path_is_the_bonds_head_start() -> None:
    """Of bond 1 nothing is known, bond 2 is somebody else's."""
    measuring, here = Measuring(), plane()
    probe(here, [1], 60)
    here.paths_live["rtt_ns"][3][::2] = 70 * MS
    here.paths_live["proof_ns"][4:8] = 0
    here.bonds["rtt_max_ns"] = 7
    follow(measuring, 0, 1, 3, 5)
    estimates = measuring.update(here, NOW_NS)
    write_head_starts(here, measuring.paths, estimates)
    # Path 3: 20 and 70 ms in turn, so a mean of 45 and a standard deviation of 25.
    assert here.bonds["rtt_max_ns"].tolist() == [(45 + 4 * 25) * MS, 0, 7]
