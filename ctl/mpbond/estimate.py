"""What each path is like now, out of what the kernel counted on it. Pure.

Once a control period the controller hands over a `Sample`: the counters and rings
of all paths at once, as they lie in the maps. Counters may wrap or begin anew
(another boot of the peer, another path under the number): such a step is taken as
a new beginning, never as a loss.

A path without proof of life for failoverInterval is down, by the kernel's own rule,
and has no values. What comes after is another life: its delays, queues and rates
are looked at for themselves. Its losses and errors go on, as a path that loses so
much that it is down at times is no better for that; but what was sent while it was
down is health's business, not plr's.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from mpbond.abi import RTT_SAMPLES
from mpbond.ratio import STEPS, WINDOWS, ratios
from mpbond.rings import RECENT, Rings
from mpbond.rows import Array, Bools, Floats, Ints, Rows, fresh_record
from mpbond.samples import FORWARD_UNKNOWN, Estimate, Estimates, Sample
from mpbond.wire import DAMAGE_SEEN

SECOND_NS = 1_000_000_000
# A rate is the mean over this at least; and over no more than that, or it is not known.
RATE_NS = SECOND_NS // 2
RATE_MAX_NS = 60 * SECOND_NS
# A path's floor, its delay with empty queues, is the least delay of about two minutes:
# clocks drift apart by less than 10 ms in that time, and routes change.
FLOOR_BUCKETS = 8
FLOOR_BUCKET_NS = 15 * SECOND_NS
# Who sends less has no queue of its own: whatever the delay is then is the floor.
IDLE_BPS = 64_000.0
# A wrapping counter that moved by more than this between two readings began anew.
JUMP = 1 << 28
# Of the data, so many packets may have overtaken the probe that counts them.
OVERTAKERS = 64
# Where packets overtake, losses are counted too high and then too low. Twice as far as
# they fell in a period they may be wrong, half as far after so long without a fall.
DOUBT = 2.0
DOUBT_HALVES_NS = 10 * SECOND_NS

# In `totals` and `history`: packets sent and lost, packets checked and failed.
_COUNTS = 4
_STATE = np.dtype(
    [
        ("seen", "?"),
        ("silent", "?"),
        ("filled", "<i8"),  # samples of the rings that are of this life
        ("rtt_count", "<u4"),
        ("probe_highest", "<u4"),
        ("probes_answered", "<u8"),
        ("sent_packets", "<u4"),
        ("received_packets", "<u4"),
        ("answered_at_ns", "<u8"),
        ("passed_packets", "<u8"),
        ("failed_packets", "<u8"),
        ("doubt", "<f8"),
        ("totals", "<i8", _COUNTS),
        ("history", "<i8", (STEPS, _COUNTS)),  # `totals` as each second began
        ("ratios", "<f8", _COUNTS // 2),
        ("ratios_least", "<f8", _COUNTS // 2),
        ("rtt_ns", "<f8"),
        ("rtt_std_ns", "<f8"),
        ("recent_rtt_ns", "<f8"),
        ("forward_base", "<u8"),
        ("forward_ns", "<u8"),
        ("recent_forward_ns", "<f8"),
        ("floor_rtt_ns", "<f8", FLOOR_BUCKETS),
        ("floor_forward_ns", "<f8", FLOOR_BUCKETS),
        ("rate_tx_packets", "<u8"),
        ("rate_tx_bytes", "<u8"),
        ("rate_tx_at_ns", "<i8"),
        ("packet_bits", "<f8"),
        ("sent_bps", "<f8"),
        ("rate_received", "<u4"),
        ("rate_answered_at_ns", "<u8"),
        ("delivered_bps", "<f8"),
    ]
)
_NEVER = {"floor_rtt_ns": np.inf, "floor_forward_ns": np.inf}
_UNKNOWN = dict.fromkeys(
    (
        *("ratios", "ratios_least", "rtt_ns", "rtt_std_ns", "recent_rtt_ns", "recent_forward_ns"),
        *("packet_bits", "delivered_bps", "sent_bps"),
    ),
    np.nan,
)
# What is known of one life of a path, and not of the next.
_OF_A_LIFE = (
    *("forward_base", "floor_rtt_ns", "floor_forward_ns", "rate_answered_at_ns", "delivered_bps"),
    *("rate_tx_at_ns", "sent_bps", "packet_bits"),
)
_CHUNK = 256
_BASELINE = (
    *("rtt_count", "probe_highest", "probes_answered", "sent_packets", "received_packets"),
    *("answered_at_ns", "passed_packets", "failed_packets"),
)


class PathEstimator(Rows):
    """`follow` the paths, then `update` once a period; `of` is one path's listing."""

    def __init__(self) -> None:
        super().__init__(fresh_record(_STATE, **_NEVER, **_UNKNOWN))
        self._now_ns: int | None = None
        self._latest: Estimates | None = None

    def of(self, path: int) -> Estimate:
        """By path index, as of the last update; nothing is known before the first."""
        return self._latest.at(self.row(path)) if self._latest else Estimate()

    def follow(self, paths: npt.ArrayLike) -> None:
        super().follow(paths)
        self._latest = None

    def update(self, sample: Sample) -> Estimates:
        """Takes in one reading of the paths followed; `now_ns` must not go back."""
        before_ns = sample.now_ns if self._now_ns is None else self._now_ns
        self._turn_pages(before_ns, sample.now_ns)
        answered, counting = self._live_and_die(sample)
        self._count(sample, counting, sample.now_ns - before_ns)
        self._judge(sample.now_ns, answered)
        self._time(sample, answered)
        self._rate_of_sending(sample)
        self._rate_of_delivery(sample)
        for name in _BASELINE:
            self.state[name] = getattr(sample, name)
        self._now_ns = sample.now_ns
        self._latest = self._estimates(sample)
        return self._latest

    def _turn_pages(self, before_ns: int, now_ns: int) -> None:
        """Begins the seconds and the floor's buckets that have come since."""
        step, bucket = before_ns // SECOND_NS, before_ns // FLOOR_BUCKET_NS
        for later in range(1, min(now_ns // SECOND_NS - step, STEPS) + 1):
            self.state["history"][:, (step + later) % STEPS] = self.state["totals"]
        for later in range(1, min(now_ns // FLOOR_BUCKET_NS - bucket, FLOOR_BUCKETS) + 1):
            self.state["floor_rtt_ns"][:, (bucket + later) % FLOOR_BUCKETS] = np.inf
            self.state["floor_forward_ns"][:, (bucket + later) % FLOOR_BUCKETS] = np.inf

    def _live_and_die(self, sample: Sample) -> tuple[Bools, Bools]:
        """New answers and silence. Returns who has answers not looked at yet, and whose
        counters go on from the last reading."""
        state = self.state
        answers = (sample.rtt_count - state["rtt_count"]).astype(np.int64)
        begun = ~state["seen"] | (answers >= JUMP)
        state[begun & state["seen"]] = self._fresh
        silent = (sample.silence_ns > sample.failover_ns) | (~begun & self._peer_began_anew(sample))
        counting = ~(begun | silent | state["silent"])
        for name in _OF_A_LIFE:
            state[name][silent] = self._fresh[name]
        # Of a path that begins the ring is taken as it stands, all of it is its own.
        filled = np.where(begun, sample.rtt_count, state["filled"] + answers)
        state["filled"] = np.where(silent, 0, np.minimum(filled, RTT_SAMPLES))
        state["seen"], state["silent"] = True, silent
        return (state["filled"] > 0) & (begun | (answers > 0)), counting

    def _peer_began_anew(self, sample: Sample) -> Bools:
        """Its stamps are not those of before: the rings have two clocks in them."""
        since = self.state["answered_at_ns"]
        apart_ns = np.abs((sample.answered_at_ns - since).view(np.int64))
        anew: Bools = (since != 0) & (sample.answered_at_ns != 0) & (apart_ns > RATE_MAX_NS)
        return anew

    def _count(self, sample: Sample, counting: Bools, since_ns: int) -> None:
        """Adds what was sent, lost, checked and failed since the last reading."""
        state = self.state
        probes = (sample.probe_highest - state["probe_highest"]).astype(np.int64)
        answered = (sample.probes_answered - state["probes_answered"]).astype(np.int64)
        sane = counting & (probes < JUMP) & (answered >= 0)
        lost = np.where(sane, probes - answered, 0)
        state["totals"][:, 0] += np.where(sane, probes, 0)

        sent = (sample.sent_packets - state["sent_packets"]).astype(np.int64)
        received = (sample.received_packets - state["received_packets"]).astype(np.int64)
        sane = counting & (sent < JUMP) & (received <= sent + sent // 8 + OVERTAKERS)
        lost += np.where(sane, sent - received, 0)
        state["totals"][:, 0] += np.where(sane, sent, 0)
        state["totals"][:, 1] += lost
        state["doubt"] = np.maximum(state["doubt"] * 0.5 ** (since_ns / DOUBT_HALVES_NS), -DOUBT * lost)

        passed = (sample.passed_packets - state["passed_packets"]).astype(np.int64)
        failed = (sample.failed_packets - state["failed_packets"]).astype(np.int64)
        sane = counting & (passed >= 0) & (failed >= 0)
        state["totals"][:, 2] += np.where(sane, passed + failed, 0)
        state["totals"][:, 3] += np.where(sane, failed, 0)

    def _judge(self, now_ns: int, answered: Bools) -> None:
        """Losses and errors: only an answer changes them, as it does delays."""
        state = self.state
        begun = (now_ns // SECOND_NS - WINDOWS) % STEPS
        for rows in _chunks(np.flatnonzero(answered)):
            before = state["history"][rows[:, np.newaxis], begun]
            lately = state["totals"][rows][:, np.newaxis] - before
            doubt = np.zeros((len(rows), _COUNTS // 2))
            doubt[:, 0] = state["doubt"][rows]
            found = ratios(lately[..., 1::2], lately[..., ::2], doubt)
            state["ratios"][rows] = found.value
            state["ratios_least"][rows] = found.least

    def _time(self, sample: Sample, answered: Bools) -> None:
        """Delays: only an answer changes them."""
        state = self.state
        in_a_second = np.clip(SECOND_NS // np.maximum(sample.probe_interval_ns, 1), 2, RECENT)
        for rows in _chunks(np.flatnonzero(answered)):
            ring = Rings(sample.rtt_count[rows], state["filled"][rows], in_a_second[rows])
            rtt_ns = sample.rtt_ns[rows].astype(np.float64)
            state["rtt_ns"][rows], state["rtt_std_ns"][rows] = ring.mean_and_std(rtt_ns)
            state["recent_rtt_ns"][rows] = ring.least_recent(rtt_ns)
            stamps = sample.forward_ns[rows]
            base = state["forward_base"][rows]
            base = np.where(base == 0, ring.newest(stamps), base)
            # The offset may be any 64-bit number: differences first, then floats.
            relative = (stamps - base[:, np.newaxis]).view(np.int64).astype(np.float64)
            mean_ns, _ = ring.mean_and_std(relative)
            state["forward_base"][rows] = base
            state["forward_ns"][rows] = base + mean_ns.astype(np.int64).view(np.uint64)
            state["recent_forward_ns"][rows] = ring.least_recent(relative)

    def _rate_of_sending(self, sample: Sample) -> None:
        """What goes out, and how large a packet is on average."""
        state = self.state
        packets = (sample.tx_packets - state["rate_tx_packets"]).astype(np.int64)
        bits = (sample.tx_bytes - state["rate_tx_bytes"]).astype(np.int64) * 8.0
        over_ns = sample.now_ns - state["rate_tx_at_ns"]
        anew = (state["rate_tx_at_ns"] == 0) | (over_ns > RATE_MAX_NS) | (packets < 0) | (bits < 0)
        due = ~anew & (over_ns >= RATE_NS)
        state["sent_bps"] = _figures(state["sent_bps"], due, anew, bits * SECOND_NS, over_ns)
        state["packet_bits"] = _figures(state["packet_bits"], due & (packets > 0), anew, bits, packets)
        begins = due | anew
        state["rate_tx_packets"] = np.where(begins, sample.tx_packets, state["rate_tx_packets"])
        state["rate_tx_bytes"] = np.where(begins, sample.tx_bytes, state["rate_tx_bytes"])
        state["rate_tx_at_ns"] = np.where(begins, sample.now_ns, state["rate_tx_at_ns"])

    def _rate_of_delivery(self, sample: Sample) -> None:
        """What the peer got, by its clock. It says how many packets: they are taken to
        be as large as those sent of late."""
        state = self.state
        packets = (sample.received_packets - state["rate_received"]).astype(np.int64)
        over_ns = (sample.answered_at_ns - state["rate_answered_at_ns"]).astype(np.int64)
        # A late answer sets the stamp back a little: not the end of the series.
        anew = (state["rate_answered_at_ns"] == 0) | (over_ns > RATE_MAX_NS) | (packets >= JUMP)
        due = ~anew & (over_ns >= RATE_NS)
        bits = packets * np.where(packets > 0, state["packet_bits"], 0.0)
        state["delivered_bps"] = _figures(state["delivered_bps"], due, anew, bits * SECOND_NS, over_ns)
        begins = due | anew
        state["rate_received"] = np.where(begins, sample.received_packets, state["rate_received"])
        state["rate_answered_at_ns"] = np.where(begins, sample.answered_at_ns, state["rate_answered_at_ns"])

    def _queue(self, now_ns: int) -> Floats:
        """How far the delay of now lies above the floor, in ns. The smaller of what the
        round trip and the way to the peer say: the one counts the way back, on the
        other the clocks drift."""
        bucket = now_ns // FLOOR_BUCKET_NS % FLOOR_BUCKETS
        idle = self.state["sent_bps"] < IDLE_BPS
        rises = []
        for name in ("rtt", "forward"):
            recent_ns, floors = self.state[f"recent_{name}_ns"], self.state[f"floor_{name}_ns"]
            floors[idle] = np.inf
            floors[:, bucket] = np.fmin(floors[:, bucket], recent_ns)
            rises.append(recent_ns - floors.min(axis=1))
        queue_ns: Floats = np.fmin(rises[0], rises[1])
        return queue_ns

    def _estimates(self, sample: Sample) -> Estimates:
        state = self.state
        silent = state["filled"] == 0

        def known(figures: Array, unit: float = 1.0) -> Floats:
            return np.where(silent, np.nan, figures / unit)

        return Estimates(
            latency_ms=known(state["rtt_ns"], 2e6),
            pdv_ms=known(state["rtt_std_ns"], 2e6),
            plr=known(state["ratios"][:, 0]),
            per=known(_damaged(state["ratios"][:, 1])),
            plr_least=known(state["ratios_least"][:, 0]),
            per_least=known(_damaged(state["ratios_least"][:, 1])),
            delivered_bps=known(state["delivered_bps"]),
            sent_bps=state["sent_bps"].copy(),
            figure_ns=state["rate_answered_at_ns"].astype(np.int64),
            forward_ns=np.where(silent, FORWARD_UNKNOWN, state["forward_ns"].astype(np.int64)),
            recent_ms=known(state["recent_rtt_ns"], 2e6),
            queue_ms=known(self._queue(sample.now_ns), 1e6),
            silent=silent,
        )


def _figures(before: Floats, due: Bools, anew: Bools, amount: Array, over: Array) -> Floats:
    """`amount` / `over` where it is due, nothing known where a count begins anew."""
    return np.where(due, amount / np.maximum(over, 1), np.where(anew, np.nan, before))


def _damaged(failed: Floats) -> Floats:
    """Packets damaged among all, from those that failed a check among all counted."""
    damaged = failed / DAMAGE_SEEN
    return damaged / (1.0 - failed + damaged)


def _chunks(rows: Ints) -> Iterator[Ints]:
    """So many rows at a time that their rings stay in the processor's cache."""
    return (rows[at : at + _CHUNK] for at in range(0, len(rows), _CHUNK))
