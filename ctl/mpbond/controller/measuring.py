"""Measures all paths once a control period: maps in, estimates and scores out.

The maps are read as they lie, for all paths at once; no step here is taken path by
path. What has not changed worth the name is not told, so that a calm bond costs
the controller nothing.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import numpy as np

from mpbond.abi import RTT_SAMPLES
from mpbond.config.model import LinkQuality
from mpbond.controller.prober import intervals_ns
from mpbond.estimate import PathEstimator
from mpbond.kernel.dataplane import Dataplane
from mpbond.quality import Limits, limits_of, scores
from mpbond.rows import Floats, Ints
from mpbond.samples import Estimate, Estimates, Sample

# A score that moved by less is the same for every policy; `optimize` asks for a tenth.
NEWS = 0.005
_NEVER_PROVED_NS = np.iinfo(np.int64).max


class Measuring:
    """`follow` the paths, `update` once a period; listings ask `of` and `score`."""

    def __init__(self) -> None:
        self._estimator = PathEstimator()
        self._meaning: dict[int, Hashable] = {}
        self._limits: Limits = limits_of(())
        self._scores: Floats = np.zeros(0)
        self._told: Floats = np.zeros(0)

    @property
    def paths(self) -> Ints:
        """Those followed, in row order."""
        return self._estimator.paths

    def follow(self, paths: Mapping[int, tuple[Hashable, LinkQuality]]) -> None:
        """From now on the rows are these path indices, in ascending order: what each
        means, and its limits. What is known of a path stays for as long as its index
        means that path. All scores are news after that."""
        order = sorted(paths)
        meaning = {path: paths[path][0] for path in order}
        self._estimator.follow(order)
        self._estimator.forget([path for path in order if self._meaning.get(path) != meaning[path]])
        self._meaning = meaning
        self._limits = limits_of([paths[path][1] for path in order])
        self._scores = np.full(len(order), np.nan)
        self._told = np.full(len(order), np.nan)

    def update(self, plane: Dataplane, now_ns: int) -> Estimates:
        """Takes in what the kernel counted; `now_ns` must not go back."""
        estimates = self._estimator.update(read_sample(plane, self.paths, now_ns))
        self._scores = np.where(estimates.silent, np.nan, scores(estimates.values, self._limits))
        return estimates

    def news(self) -> list[tuple[int, float]]:
        """(path, score) of each whose score has changed since it was last told; a
        silent path has none, and goes by what was told before."""
        changed = np.isfinite(self._scores) & ~(np.abs(self._scores - self._told) < NEWS)
        self._told[changed] = self._scores[changed]
        return list(zip(self.paths[changed].tolist(), self._scores[changed].tolist(), strict=True))

    def of(self, path: int) -> Estimate:
        """What is known of a followed path; KeyError for any other."""
        return self._estimator.of(path)

    def score(self, path: int) -> float | None:
        """As of the last update; None for a silent path."""
        found = float(self._scores[self._estimator.row(path)])
        return None if np.isnan(found) else found


def read_sample(plane: Dataplane, paths: Ints, now_ns: int) -> Sample:
    """What the maps say of these paths now."""
    live, stats, bond = plane.paths_live, plane.path_stats[paths], paths // plane.block
    proof_ns = live["proof_ns"][paths].astype(np.int64)
    failover_ns = plane.bonds["failover_ns"][bond].astype(np.int64)
    clock_ns = plane.bonds_live["clock_ns"][bond].astype(np.int64)
    return Sample(
        now_ns=now_ns,
        failover_ns=failover_ns,
        probe_interval_ns=intervals_ns(failover_ns),
        silence_ns=np.where(proof_ns == 0, _NEVER_PROVED_NS, clock_ns - proof_ns),
        rtt_ns=live["rtt_ns"][paths].reshape(-1, RTT_SAMPLES),
        rtt_count=live["rtt_count"][paths],
        forward_ns=live["forward_ns"][paths].reshape(-1, RTT_SAMPLES),
        probe_highest=live["answered_highest"][paths],
        probes_answered=live["probes_answered"][paths],
        sent_packets=live["paired_sent"][paths],
        received_packets=live["paired_received"][paths],
        answered_at_ns=live["answer_stamp"][paths],
        passed_packets=live["checked"][paths],
        failed_packets=live["failed"][paths],
        tx_packets=stats["tx_packets"].sum(axis=1),
        tx_bytes=stats["tx_bytes"].sum(axis=1),
    )


def write_head_starts(plane: Dataplane, paths: Ints, estimates: Estimates) -> None:
    """After a stall the kernel waits for the round trip of each bond's slowest path,
    its variation included, before it calls anything late. `paths` as in Measuring."""
    if not len(paths):
        return
    bond = paths // plane.block
    begins = np.flatnonzero(np.diff(bond, prepend=-1))
    rtt_ms = 2 * (estimates.latency_ms + 4 * estimates.pdv_ms)
    slowest_ms = np.maximum.reduceat(np.nan_to_num(rtt_ms), begins)
    plane.bonds["rtt_max_ns"][bond[begins]] = (slowest_ms * 1e6).astype(np.uint64)
