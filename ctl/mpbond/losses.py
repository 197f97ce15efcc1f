"""What part of the packets is lost and damaged on each path. Pure.

Losses are those of data and of probes, counted by packets; damage is that of probes
and answers, as only of these every byte is checked.
"""

from __future__ import annotations

import numpy as np

from mpbond.ratio import STEPS, WINDOWS, ratios
from mpbond.rows import Bools, Floats, Ints, Rows, fresh_record
from mpbond.samples import JUMP, SECOND_NS, Sample
from mpbond.wire import DAMAGE_SEEN

# Of the data, so many packets may have overtaken the probe that counts them.
OVERTAKERS = 64
# Where packets overtake, losses are counted too high and then too low. Twice as far as
# they fell in a period they may be wrong, half as far after so long without a fall.
DOUBT = 2.0
DOUBT_HALVES_NS = 10 * SECOND_NS

# Of each kind, losses and damage: how many packets, and how many were bad.
_LOST, _DAMAGED = range(2)
_KINDS = 2
_BASELINE = (
    *("probe_highest", "probes_answered", "sent_packets", "received_packets"),
    *("passed_packets", "failed_packets"),
)
_STATE = np.dtype(
    [
        ("probe_highest", "<u4"),
        ("probes_answered", "<u8"),
        ("sent_packets", "<u4"),
        ("received_packets", "<u4"),
        ("passed_packets", "<u8"),
        ("failed_packets", "<u8"),
        ("doubt", "<f8"),
    ]
)


class Losses(Rows):
    """`follow` the paths, `update` once a period.

    `plr`, `per`: (n,) 0..1, NaN where nothing was counted; *_least: what they are at
    least, at three sigmas."""

    def __init__(self) -> None:
        # They wrap: what counts is what came in a minute, which is less than 2^31.
        counts = np.zeros(_KINDS, np.int32)
        minute = np.zeros((STEPS, _KINDS), np.int32)  # counts as each second began
        unknown = np.full(_KINDS, np.nan)
        super().__init__(
            fresh_record(_STATE),
            every=counts,
            bad=counts,
            every_then=minute,
            bad_then=minute,
            ratio=unknown,
            least=unknown,
        )
        self._now_ns: int | None = None

    @property
    def plr(self) -> Floats:
        return np.array(self.wide["ratio"][_LOST])

    @property
    def plr_least(self) -> Floats:
        return np.array(self.wide["least"][_LOST])

    @property
    def per(self) -> Floats:
        return _damaged(self.wide["ratio"][_DAMAGED])

    @property
    def per_least(self) -> Floats:
        return _damaged(self.wide["least"][_DAMAGED])

    def update(self, sample: Sample, counting: Bools, answered: Bools) -> None:
        """`counting`: (n,) whose counters go on from the last reading; `answered`: who has
        new answers, for without any there are no new counts."""
        before_ns = sample.now_ns if self._now_ns is None else self._now_ns
        self._now_ns = sample.now_ns
        self._turn_pages(before_ns, sample.now_ns)
        self._count_lost(sample, counting, sample.now_ns - before_ns)
        self._count_damaged(sample, counting)
        for name in _BASELINE:
            self.state[name] = getattr(sample, name)
        self._judge(sample.now_ns, answered)

    def _turn_pages(self, before_ns: int, now_ns: int) -> None:
        """Begins the seconds that have come since."""
        step = before_ns // SECOND_NS
        for later in range(1, min(now_ns // SECOND_NS - step, STEPS) + 1):
            for name in ("every", "bad"):
                self.wide[f"{name}_then"][(step + later) % STEPS] = self.wide[name]

    def _count_lost(self, sample: Sample, counting: Bools, since_ns: int) -> None:
        state = self.state
        probes = (sample.probe_highest - state["probe_highest"]).astype(np.int64)
        answered = (sample.probes_answered - state["probes_answered"]).astype(np.int64)
        of_probes = counting & (probes < JUMP) & (answered >= 0)
        sent = (sample.sent_packets - state["sent_packets"]).astype(np.int64)
        received = (sample.received_packets - state["received_packets"]).astype(np.int64)
        of_data = counting & (sent < JUMP) & (received <= sent + sent // 8 + OVERTAKERS)
        lost = np.where(of_probes, probes - answered, 0) + np.where(of_data, sent - received, 0)
        every = np.where(of_probes, probes, 0) + np.where(of_data, sent, 0)
        self._add(_LOST, every, lost)
        state["doubt"] = np.maximum(state["doubt"] * 0.5 ** (since_ns / DOUBT_HALVES_NS), -DOUBT * lost)

    def _count_damaged(self, sample: Sample, counting: Bools) -> None:
        passed = (sample.passed_packets - self.state["passed_packets"]).astype(np.int64)
        failed = (sample.failed_packets - self.state["failed_packets"]).astype(np.int64)
        sane = counting & (passed >= 0) & (failed >= 0)
        self._add(_DAMAGED, np.where(sane, passed + failed, 0), np.where(sane, failed, 0))

    def _add(self, kind: int, every: Ints, bad: Ints) -> None:
        self.wide["every"][kind] += every.astype(np.int32)
        self.wide["bad"][kind] += bad.astype(np.int32)

    def _judge(self, now_ns: int, answered: Bools) -> None:
        begun = (now_ns // SECOND_NS - WINDOWS) % STEPS
        ratio, proven = self.wide["ratio"], self.wide["least"]
        bad = self.wide["bad"] - self.wide["bad_then"][begun]
        counted = self.wide["every"] != self.wide["every_then"][begun[-1]]
        np.copyto(ratio, np.where(counted, 0.0, np.nan), where=answered)
        np.copyto(proven, ratio, where=answered)
        # What is never bad, as most are, needs no more looking at.
        kind, row = np.nonzero(answered & (bad > 0).any(axis=0))
        every = self.wide["every"][kind, row] - self.wide["every_then"][begun[:, np.newaxis], kind, row]
        doubt = np.where(kind == _LOST, self.state["doubt"][row], 0.0)
        found = ratios(bad[:, kind, row], every, doubt)
        ratio[kind, row], proven[kind, row] = found.value, found.least


def _damaged(failed: Floats) -> Floats:
    """Packets damaged among all, from those that failed a check among all counted."""
    damaged = failed / DAMAGE_SEEN
    return damaged / (1.0 - failed + damaged)
