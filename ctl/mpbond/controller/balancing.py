"""Balances bonds once a control period: estimates in; avoided paths, slots and flags out.

The rules are balance.py's and avoid.py's; here the kernel's maps are read and written
for them, and what they decide is told. Every path has a row, in the order of Measuring.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mpbond import abi
from mpbond.avoid import LIMITS, Avoidance, Verdict
from mpbond.balance import Balance, Cause, Move, Place
from mpbond.blame import Blame
from mpbond.config.model import BasePolicy, LinkQuality
from mpbond.controller.bond import ONE_PATH, BondState
from mpbond.controller.prober import intervals_ns
from mpbond.events import History, Kind
from mpbond.kernel.dataplane import Dataplane
from mpbond.lately import Answers, Lately, Ring
from mpbond.layout import PathSpec
from mpbond.policies import carriers
from mpbond.quality import Limits, limits_of, scores
from mpbond.rows import Bools, Floats, Ints
from mpbond.samples import Estimates

# A path is avoided for so long before flows that found no gap leave it all the same.
LEAVE_NS = 200_000_000
# What was moved off a full path has so long to follow in a pause, and leaves it then
# within this.
CROWDED_NS = 2_000_000_000
CROWDED_LEAVE_NS = 400_000_000
# A path's way out that has changed by less is not written again.
FORWARD_NEWS_US = 200
# Events: a part of the slots that moved by more, an estimate that changed by this factor.
SHARE_NEWS = 0.05
CAPACITY_NEWS = 1.25
# Whose linkQuality means something.
JUDGED = ONE_PATH | {BasePolicy.BALANCE_AWARE}
_NO_LIMITS = LinkQuality(*(np.inf,) * 4)
_MBIT = 1e6
_CAUSES = {
    Cause.PATHS: "a path came or went",
    Cause.SHARES: "capacity or quality has changed",
    Cause.LOAD: "the traffic was uneven",
}

# ifname -> Mbit/s by its driver, None where it does not say.
SpeedOf = Callable[[str], float | None]


@dataclass(frozen=True, slots=True)
class PathBalance:
    """One path, for listings. `wait_ms`: how much longer an avoided path has to be well."""

    avoided: bool = False
    wait_ms: float = 0.0
    estimated_mbit: float | None = None


class Balancing:
    """`follow` the bonds; each period `update`, then `write`; `assigned` after each
    assignment, and `write` if it cannot wait for the period's end."""

    def __init__(self, plane: Dataplane, history: History, speed_of: SpeedOf) -> None:
        self._plane, self._history, self._speed_of = plane, history, speed_of
        self._balance, self._avoidance = Balance(), Avoidance()
        self._lately, self._blame = Lately(), Blame()
        self._bonds: Mapping[int, BondState] = {}
        self._specs: list[tuple[BondState, PathSpec]] = []
        self._meaning: dict[int, object] = {}
        self._limits: Limits = limits_of(())
        self._interval_ns = np.zeros(0, np.int64)
        self._part = self._sent_bps = self._quality = self._told_bps = np.zeros(0)
        self._balanced = self._candidate = self._off = np.zeros(0, bool)
        self._told_share: dict[int, float] = {}
        self._crowded_ns: dict[int, int] = {}
        self._now_ns = 0

    @property
    def paths(self) -> Ints:
        return self._balance.paths

    # ---- who is there ----------------------------------------------------------------

    def follow(self, bonds: Mapping[int, BondState]) -> None:
        """From now on these. What is known of a path stays as long as it is that path."""
        told = dict(zip(self.paths.tolist(), self._told_bps.tolist(), strict=True))
        by_index = {
            state.index_of(path): (state, path) for state in bonds.values() for path in state.spec.paths
        }
        order = sorted(by_index)
        meaning: dict[int, object] = {
            index: (by_index[index][0].spec.peer.id, by_index[index][1].key) for index in order
        }
        self._bonds, self._specs = bonds, [by_index[index] for index in order]
        self._balance.place(self._place(np.array(order, np.int64)))
        self._avoidance.follow(order)
        self._lately.follow(order)
        self._blame.follow(order)
        other = [index for index in order if self._meaning.get(index) != meaning[index]]
        for rows in (self._balance, self._avoidance, self._lately, self._blame):
            rows.forget(other)
        self._meaning = meaning
        self._told_bps = np.array([told.get(i, np.nan) if i not in other else np.nan for i in order])
        self._told_share = {index: self._told_share[index] for index in order if index in self._told_share}
        self._take_policies(order)

    def _take_policies(self, order: list[int]) -> None:
        policies = [state.spec.policy for state, _ in self._specs]
        self._limits = limits_of(
            [policy.link_quality if policy.base in JUDGED else _NO_LIMITS for policy in policies]
        )
        failover_ns = np.array([policy.failover_interval_ms * 1_000_000 for policy in policies], np.int64)
        self._interval_ns = intervals_ns(failover_ns)
        self._balanced = np.array([policy.base is BasePolicy.BALANCE_AWARE for policy in policies], bool)
        self._off = np.array(
            [index in state.avoided for index, (state, _) in zip(order, self._specs, strict=True)], bool
        )
        self._part, self._sent_bps = np.zeros(len(order)), np.zeros(len(order))
        self._quality, self._candidate = np.ones(len(order)), np.zeros(len(order), bool)
        for state in self._bonds.values():
            self.assigned(state)

    def _place(self, paths: Ints) -> Place:
        bonds = paths // self._plane.block
        ifindexes = np.array([path.ifindex for _, path in self._specs], np.int64)
        given = np.array([path.capacity_mbit for _, path in self._specs], np.float64)
        speeds = {name: self._speed_of(name) for name in {path.key.ifname for _, path in self._specs}}
        speed = np.array([speeds[path.key.ifname] or np.nan for _, path in self._specs], np.float64)
        return Place(paths, bonds, (bonds << 32) + ifindexes, given * _MBIT, speed * _MBIT)

    def assigned(self, state: BondState) -> None:
        """The bond has a new assignment: who may carry, who does."""
        if state.spec.policy.base is not BasePolicy.BALANCE_AWARE or not state.spec.paths:
            return
        rows = self._rows_of(state)
        able = {path.index for path in carriers(state.views())}
        indices = self.paths[rows].tolist()
        self._candidate[rows] = [index in able for index in indices]
        self._part[rows] = [state.assignment.shares.get(index, 0.0) for index in indices]

    def _rows_of(self, state: BondState) -> Ints:
        bonds = self._balance.bonds
        return bonds.rows(int(np.searchsorted(bonds.keys, state.spec.index)))

    # ---- once a period -----------------------------------------------------------------

    def update(self, now_ns: int, estimates: Estimates) -> set[int]:
        """Takes the measurements in. Returns the bonds that have to be assigned anew, as
        a path of theirs is avoided now or is not any more."""
        self._now_ns, self._sent_bps = now_ns, estimates.sent_bps
        self._lately.update(now_ns, self._answers(estimates.silent))
        self._balance.measure(now_ns, estimates, ~estimates.silent)
        link = self._balance.link
        loss = self._blame.fault(now_ns, estimates.plr_least, self._lost(), link.queueing, link.filled_ns)
        varies_ms = np.fmin(estimates.pdv_ms, self._lately.varies_ms)
        values = np.column_stack((self._lately.delay_ms, varies_ms, loss, estimates.per_least))
        verdict = self._avoidance.update(now_ns, values, self._limits.most)
        usual = np.column_stack((estimates.latency_ms, estimates.pdv_ms, loss, estimates.per_least))
        self._quality = scores(usual, self._limits)
        self._tell_avoided(verdict, values)
        off = self._avoidance.kept_off(verdict, self._candidate, self._balance.bonds)
        changed = self._keep_off(np.where(self._balanced, off, verdict.avoided))
        self._write_ways(now_ns)
        return changed

    def _answers(self, silent: Bools) -> Answers:
        live, paths = self._plane.paths_live, self.paths

        def ring(name: str) -> Ring:
            return lambda rows, places: live[name][paths[rows][:, np.newaxis], places]

        return Answers(
            live["rtt_count"][paths], self._interval_ns, silent, ring("rtt_ns"), ring("forward_ns")
        )

    def _lost(self) -> npt.NDArray[np.uint32]:
        """(n,) probes and data packets lost on each path so far; wraps."""
        live, paths = self._plane.paths_live, self.paths
        probes = live["answered_highest"][paths] - live["probes_answered"][paths].astype(np.uint32)
        lost: npt.NDArray[np.uint32] = probes + live["paired_sent"][paths] - live["paired_received"][paths]
        return lost

    def _keep_off(self, off: Bools) -> set[int]:
        """Tells the bonds which of their paths are avoided; whose that changes."""
        news = {int(index) // self._plane.block for index in self.paths[off != self._off]}
        self._off = off
        for bond in news:
            own = self._rows_of(self._bonds[bond])
            self._bonds[bond].avoided = frozenset(self.paths[own][off[own]].tolist())
        return news

    def _write_ways(self, now_ns: int) -> None:
        """How long the ways out take, and which paths flows have to leave at once."""
        paths, plane = self.paths, self._plane
        least_us, most_us = self._lately.behind_us(self._balanced, self._balance.bonds)
        off_us = np.maximum(
            abs(least_us - plane.paths["forward_least_us"][paths]),
            abs(most_us - plane.paths["forward_most_us"][paths]),
        )
        news = self._balanced & (off_us > FORWARD_NEWS_US)
        if news.any():
            plane.set_forward(paths[news], least_us[news], most_us[news])
        long_ago = now_ns - self._avoidance.state["since_ns"] >= LEAVE_NS
        leave = self._balanced & ((self._off & long_ago) | self._crowded(now_ns))
        flag = abi.PathFlag.LEAVE
        for row in np.flatnonzero(leave != ((plane.paths["flags"][paths] & int(flag)) != 0)):
            plane.set_path_flag(int(paths[row]), flag, bool(leave[row]))

    def _crowded(self, now_ns: int) -> Bools:
        """Full paths whose flows had their time to follow their slots."""
        ends = CROWDED_NS + CROWDED_LEAVE_NS
        self._crowded_ns = {path: at for path, at in self._crowded_ns.items() if now_ns - at < ends}
        due = [path for path, at in self._crowded_ns.items() if now_ns - at >= CROWDED_NS]
        found: Bools = np.isin(self.paths, np.array(due, np.int64))
        return found

    def write(self, now_ns: int) -> None:
        """Brings the slots of balance-aware bonds up to date."""
        if not self._balanced.any():
            return
        balance, plane = self._balance, self._plane
        balance.weigh(self._part, self._quality)
        balance.count_slots(now_ns, lambda bonds: plane.slot_bytes[bonds])
        for move in balance.moves(now_ns, self._sent_bps, self._balanced, plane.slots):
            plane.set_slots(move.bond, move.table)
            self._crowded_ns |= dict.fromkeys(move.crowded, now_ns)
            self._tell_shares(now_ns, move)
        self._tell_capacities(now_ns)

    # ---- what is told --------------------------------------------------------------------

    def of(self, index: int) -> PathBalance:
        """One path, as of the last period; KeyError for one that is not followed."""
        row = self._balance.row(index)
        state = self._avoidance.state[row]
        bps = float(self._balance.link.bps[row]) if len(self._balance.link.bps) > row else np.nan
        return PathBalance(
            bool(state["avoided"]),
            float(self._avoidance.wait_ns(self._now_ns)[row]) / 1e6,
            None if np.isnan(bps) else bps / _MBIT,
        )

    def _tell(self, now_ns: int, kind: Kind, row: int, cause: str, **figures: float) -> None:
        state, path = self._specs[row]
        place = (path.number, path.key.ifname)
        self._history.add(now_ns, kind, state.spec.peer.id, path=place, cause=cause, **figures)

    def _tell_avoided(self, verdict: Verdict, values: Floats) -> None:
        for row in np.flatnonzero(verdict.newly):
            which = int(verdict.cause[row])
            value, limit = float(values[row, which]), float(self._limits.most[row, which])
            cause = f"{_told(which, value)} is over {LIMITS[which]}_max {limit:g}"
            self._tell(self._now_ns, Kind.AVOIDED, int(row), cause, value=round(value, 6), limit=limit)
        for row in np.flatnonzero(verdict.back):
            which = int(verdict.cause[row])
            value, limit = float(values[row, which]), float(self._limits.most[row, which])
            cause = f"{_told(which, value)} is well inside {LIMITS[which]}_max {limit:g} again"
            self._tell(self._now_ns, Kind.TAKEN_BACK, int(row), cause, value=round(value, 6), limit=limit)

    def _tell_shares(self, now_ns: int, move: Move) -> None:
        state = self._bonds[move.bond]
        slots = np.bincount(np.asarray(move.table), minlength=int(abi.NO_PATH) + 1)
        after = {state.index_of(path): slots[state.index_of(path)] / abi.SLOTS for path in state.spec.paths}
        before = {index: self._told_share.get(index, 0.0) for index in after}
        if max(abs(after[index] - before[index]) for index in after) <= SHARE_NEWS:
            return
        self._told_share |= after
        if not any(before.values()):
            return
        shown = {
            f"path {path.number}": [round(at[state.index_of(path)], 3) for at in (before, after)]
            for path in state.spec.paths
            if before[state.index_of(path)] or after[state.index_of(path)]
        }
        parts = ", ".join(f"{name} {was:.0%} -> {now:.0%}" for name, (was, now) in shown.items())
        cause = f"{parts}, as {_CAUSES[move.cause]}"
        self._history.add(now_ns, Kind.WEIGHTS, state.spec.peer.id, cause=cause, shares=shown)

    def _tell_capacities(self, now_ns: int) -> None:
        bps, told = self._balance.link.bps, self._told_bps
        factor = np.fmax(bps / told, told / bps)
        news = self._balanced & ~np.isnan(bps) & ~(factor <= CAPACITY_NEWS)
        for row in np.flatnonzero(news):
            if self._specs[row][1].capacity_mbit == 0:
                mbit = float(bps[row]) / _MBIT
                was = "" if np.isnan(told[row]) else f", {told[row] / _MBIT:.1f} before"
                cause = f"about {mbit:.1f} Mbit/s{was}"
                self._tell(now_ns, Kind.CAPACITY, int(row), cause, estimatedMbit=round(mbit, 3))
        self._told_bps[news] = bps[news]


def _told(which: int, value: float) -> str:
    name = ("latency", "variation", "loss", "errors")[which]
    return f"{name} {value:.1f} ms" if which < 2 else f"{name} {value:.3%}"
