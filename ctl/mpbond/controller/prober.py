"""When which path is probed, and the one system call that does it.

Every bond has its interval, failoverInterval / 4 but at least 5 ms. While a path
of a bond is overdue, its bond is probed as often as allowed: then a dead path is
left as soon as failoverInterval has passed, and a merely late one gets more
chances to show itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mpbond import abi
from mpbond.kernel.bpf import PreparedRun
from mpbond.kernel.dataplane import Dataplane

MIN_INTERVAL_NS = 5_000_000
PROBES_PER_INTERVAL = 4
# Every connection of a path is probed within this: NATs forget a UDP flow after half a
# minute at the earliest (RFC 4787 asks for two). Every second probe is connection 0's.
KEEP_NS = 20_000_000_000
# Probe intervals without proof after which a path is suspected.
SUSPICION = 1.5

Array = np.ndarray[Any, Any]


def intervals_ns(failover_ns: Array) -> Array:
    """The probe interval of semantics, section 4, for each failoverInterval; never so long
    that a NAT on the way would forget the path."""
    intervals: Array = np.clip(failover_ns // PROBES_PER_INTERVAL, MIN_INTERVAL_NS, KEEP_NS)
    return intervals


def interval_ns(failover_ms: int) -> int:
    """The same for one."""
    return int(intervals_ns(np.array(failover_ms * 1_000_000)))


class Prober:
    """Works on whole arrays, so that a thousand peers cost little more than one."""

    def __init__(self, plane: Dataplane) -> None:
        self._plane = plane
        self._packet = bytearray(abi.TICK_PATHS * 2 + 16)
        self._packet[12:14] = b"\x08\x00"
        self._run_tick = PreparedRun(plane.programs["probe"], self._packet)
        self._paths: Array = np.zeros(0, np.int64)
        self._path_bond: Array = np.zeros(0, np.int64)
        self._due_ns: Array = np.zeros(plane.sizes.bonds, np.int64)
        self._interval_ns: Array = np.full(plane.sizes.bonds, MIN_INTERVAL_NS, np.int64)
        self._bonds: Array = np.zeros(0, np.int64)
        self.late_ns = 0

    def set_paths(self, paths: Sequence[int], failover_ms: dict[int, int]) -> None:
        """`paths`: indices of all paths; `failover_ms` by bond index. A bond with a new
        path or another interval is probed at once, not when the old one is over."""
        before = {int(path) for path in self._paths}
        fresh = {path // self._plane.block for path in paths if path not in before}
        self._paths = np.array(sorted(paths), np.int64)
        self._path_bond = self._paths // self._plane.block
        self._bonds = np.array(sorted(failover_ms), np.int64)
        for bond, value in failover_ms.items():
            if bond in fresh or self._interval_ns[bond] != interval_ns(value):
                self._due_ns[bond] = 0
            self._interval_ns[bond] = interval_ns(value)

    def probe_at_once(self, bond: int) -> None:
        """The peer is to hear what has changed here."""
        self._due_ns[bond] = 0

    def next_due_ns(self, otherwise_ns: int) -> int:
        """When the next probe is due, on CLOCK_MONOTONIC."""
        if not len(self._bonds):
            return otherwise_ns
        return int(min(self._due_ns[self._bonds].min(), otherwise_ns))

    def tick(self, now_ns: int) -> None:
        """Sends every probe that is due."""
        due = self._due_ns <= now_ns
        chosen = self._paths[due[self._path_bond]]
        bonds = self._bonds[due[self._bonds]]
        if not len(bonds):
            return
        chosen = np.repeat(chosen, self._times(chosen))
        for start in range(0, len(chosen), abi.TICK_PATHS):
            self._send(chosen[start : start + abi.TICK_PATHS])
        self.late_ns = max(0, now_ns - int(self._due_ns[bonds].min()))
        self._schedule(bonds, now_ns)

    def _times(self, paths: Array) -> Array:
        """How often each is probed at once; more than once where it has many connections."""
        further = np.maximum(self._plane.paths["connections"][paths].astype(np.int64), 1) - 1
        interval_ns = self._interval_ns[paths // self._plane.block]
        times: Array = np.maximum(1, -(-2 * further * interval_ns // KEEP_NS))
        return times

    def _send(self, paths: Array) -> None:
        body = np.concatenate(([len(paths)], paths)).astype("<u2").tobytes()
        self._packet[14 : 14 + len(body)] = body
        self._run_tick.run(len(paths))

    def _schedule(self, bonds: Array, now_ns: int) -> None:
        """The next time of each bond that was due; sooner where a path is suspected."""
        interval = self._interval_ns[bonds]
        pace = np.where(self._suspected()[bonds], MIN_INTERVAL_NS, interval)
        # On the grid while we keep up; from now on after a stall, without a burst.
        following = self._due_ns[bonds] + pace
        self._due_ns[bonds] = np.where(following <= now_ns, now_ns + pace, following)

    def _suspected(self) -> Array:
        """Per bond: has an eligible path gone without proof for too long, though
        not yet long enough to be dead?"""
        plane = self._plane
        bond = self._path_bond
        lag = plane.bonds_live["freshest_ns"][bond].astype(np.int64) - plane.paths_live["proof_ns"][
            self._paths
        ].astype(np.int64)
        eligible = (plane.paths["flags"][self._paths] & int(abi.PathFlag.ELIGIBLE)) != 0
        overdue = eligible & (lag > SUSPICION * self._interval_ns[bond])
        overdue &= lag <= plane.bonds["failover_ns"][bond].astype(np.int64)
        found = np.zeros(len(self._due_ns), bool)
        found[bond[overdue]] = True
        return found
