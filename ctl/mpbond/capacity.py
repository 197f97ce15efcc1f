"""How much each link of a bond carries, where nobody has said it. Pure.

A link shows its capacity when it is full: then what arrives is what it can carry.
Full is a link where a queue stands while it is used, or which loses a part of what
it is given and cannot be made to carry more. Until then nothing is known, and
nothing is tried: no packet is ever sent to find out.

  full:              the estimate follows what arrives
  more arrives:      the estimate is at least that
  nearly that much arrives and no queue stands: it rises, RISE a second, for there
                     may be more
  otherwise:         it stays

A figure is of a link of one bond: over the same link peers differ in how far it is
to them. Paths of a bond that share a link share its capacity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mpbond.groups import Groups
from mpbond.rows import Bools, Floats, Ints, Rows, fresh_record

SECOND_NS = 1_000_000_000
# Who carries less shows nothing; and no link is thought to carry less.
FLOOR_BPS = 100_000.0
# Of the largest link of the bond: what a link is given at least, to show itself.
FLOOR_SHARE = 0.01
# A queue stands when packets are held for so much longer than at their best, and for
# JITTERS times what their delay varies where nothing is sent.
QUEUE_MS = 4.0
JITTERS = 1.5
JITTER_MAX_MS = 50.0
# A smaller jitter is learnt at once; a larger one, by a half in this time, as what was
# sent a while ago may still show in it.
JITTER_RISE_S = 30.0
# The most that was carried fades: to a third in this.
MEMORY_S = 600.0
IDLE_BPS = 64_000.0
# A loss like this without a queue is the end of the link only where it carries what it
# did before, or half of it.
FULL_LOSS = 0.003
FULL_OF_CARRIED = 0.5
# Full, or not any more, is who was so for this long.
PERSIST_NS = SECOND_NS
FOLLOW_S = 2.0
NEAR = 0.8
RISE = 0.02
LONGEST_STEP_S = 5.0

_STATE = np.dtype(
    [
        ("bps", "<f8"),  # the estimate; NaN until the link was full for the first time
        ("carried_bps", "<f8"),  # the most that arrived, fading
        ("figure_ns", "<i8"),
        ("at_ns", "<i8"),
        ("jitter_ms", "<f8"),  # while nothing is sent; NaN = never seen so
        ("full", "?"),
        ("contrary_ns", "<i8"),  # since when it looks the other way; 0 = it does not
        ("filled_ns", "<i8"),  # when it was full last; 0 = never
    ]
)


@dataclass(frozen=True, slots=True)
class LinkFigures:
    """(n,) arrays, a row for each link of each bond, in the order of `follow`.

    `delivered_bps`, `sent_bps`: data, NaN where not known. `figure_ns`: another number
    for each new figure of delivered_bps. `queue_ms`: the standing queue, NaN where not
    known. `loss`: what is lost at least, 0..1. `jitter_ms`: how much the delay varies,
    NaN where not known.
    """

    now_ns: int
    delivered_bps: Floats
    sent_bps: Floats
    figure_ns: Ints
    queue_ms: Floats
    loss: Floats
    jitter_ms: Floats


@dataclass(frozen=True, slots=True)
class LinkCapacity:
    """(n,) arrays. `bps`: NaN where not estimated yet. `full`: has been for a second.
    `queueing`: a queue stands right now. `filled_ns`: when it was full last, 0 = never."""

    bps: Floats
    full: Bools
    queueing: Bools
    filled_ns: Ints


class Capacities(Rows):
    """`follow` the links, by any number that names a link of a bond; `update` once a
    control period."""

    def __init__(self) -> None:
        super().__init__(fresh_record(_STATE, bps=np.nan, jitter_ms=np.nan))
        self._now_ns: int | None = None

    def update(self, figures: LinkFigures) -> LinkCapacity:
        delivered = np.nan_to_num(figures.delivered_bps)
        sent = np.nan_to_num(figures.sent_bps)
        self._fade(figures, (sent < IDLE_BPS) & (delivered < IDLE_BPS))
        queueing = self._queueing(figures, delivered)
        looks_full = queueing | self._losing(figures, delivered)
        self._persist(looks_full, figures.now_ns)
        # As a queue drains less is sent than the link can: no reason to think less of it.
        self._estimate(figures, delivered, looks_full & (sent >= NEAR * delivered), queueing)
        state = self.state
        return LinkCapacity(
            state["bps"].copy(), state["full"].copy(), queueing, state["filled_ns"].astype(np.int64)
        )

    def _fade(self, figures: LinkFigures, idle: Bools) -> None:
        """What time alone changes, and the jitter of links that nothing is sent over."""
        before_ns = figures.now_ns if self._now_ns is None else self._now_ns
        self._now_ns = figures.now_ns
        passed_s = (figures.now_ns - before_ns) / SECOND_NS
        state = self.state
        state["carried_bps"] *= np.exp(-passed_s / MEMORY_S)
        seen_ms = np.where(idle, np.minimum(figures.jitter_ms, JITTER_MAX_MS), np.nan)
        at_most_ms = (state["jitter_ms"] + QUEUE_MS) * 2.0 ** (passed_s / JITTER_RISE_S) - QUEUE_MS
        learnt_ms = np.fmin(seen_ms, at_most_ms)
        state["jitter_ms"] = np.where(np.isnan(seen_ms), state["jitter_ms"], learnt_ms)

    def _queueing(self, figures: LinkFigures, delivered: Floats) -> Bools:
        at_least_ms = QUEUE_MS + JITTERS * np.nan_to_num(self.state["jitter_ms"])
        found: Bools = (delivered >= FLOOR_BPS) & (np.nan_to_num(figures.queue_ms) > at_least_ms)
        return found

    def _losing(self, figures: LinkFigures, delivered: Floats) -> Bools:
        """Full without a queue, as behind a policer. A link that loses at random does so
        at any rate; that is quality's business."""
        carried = np.fmax(self.state["bps"], self.state["carried_bps"])
        loses = (np.nan_to_num(figures.loss) > FULL_LOSS) & (delivered >= FLOOR_BPS)
        found: Bools = loses & (delivered >= FULL_OF_CARRIED * carried)
        return found

    def _persist(self, looks_full: Bools, now_ns: int) -> None:
        state = self.state
        contrary = looks_full != state["full"]
        since_ns = np.where(state["contrary_ns"] > 0, state["contrary_ns"], now_ns)
        turned = contrary & (now_ns - since_ns >= PERSIST_NS)
        state["full"] ^= turned
        state["contrary_ns"] = np.where(contrary & ~turned, since_ns, 0)
        state["filled_ns"] = np.where(state["full"], now_ns, state["filled_ns"])

    def _estimate(self, figures: LinkFigures, delivered: Floats, pressed: Bools, queueing: Bools) -> None:
        """`pressed`: the link looks full and is given as much as it carries."""
        state, now_ns = self.state, figures.now_ns
        news = (figures.figure_ns != state["figure_ns"]) & (delivered >= FLOOR_BPS)
        step_s = np.clip((now_ns - state["at_ns"]) / SECOND_NS, 0.0, LONGEST_STEP_S)
        bps = state["bps"]
        first = np.isnan(bps) & state["full"]
        near = ~queueing & ~state["full"] & (delivered >= NEAR * bps)
        after = np.where(near, bps * (1.0 + RISE * step_s), bps)
        after = np.where(pressed, bps + (1.0 - np.exp(-step_s / FOLLOW_S)) * (delivered - bps), after)
        # NaN stays NaN but where the link is full for the first time.
        after = np.where(first, delivered, np.maximum(after, delivered))
        state["bps"] = np.where(news, after, bps)
        state["carried_bps"] = np.where(
            news, np.maximum(state["carried_bps"], delivered), state["carried_bps"]
        )
        state["figure_ns"] = np.where(news, figures.figure_ns, state["figure_ns"])
        state["at_ns"] = np.where(news, now_ns, state["at_ns"])

    @property
    def carried_bps(self) -> Floats:
        """(n,) the most that each link was seen to carry of late."""
        carried: Floats = self.state["carried_bps"].copy()
        return carried


def weighed(
    given_bps: Floats,
    speed_bps: Floats,
    estimated_bps: Floats,
    carried_bps: Floats,
    counts: Bools,
    bonds: Groups,
) -> Floats:
    """(n,) by what each link counts in its bond: what was given, else the estimate, else
    as much as the others that count do on average, though not more than its device's
    speed nor less than it has carried. Where nothing is known of any of them: their
    speeds, or all alike where one has none.

    `given_bps`: 0 = not given; `speed_bps`, `estimated_bps`: NaN = not known.
    """
    known = np.where(given_bps > 0, given_bps, estimated_bps)
    has = counts & ~np.isnan(known)
    of_bond = bonds.sum(has)
    mean = (bonds.sum(np.where(has, known, 0.0)) / np.maximum(of_bond, 1))[bonds.of]
    guess = np.fmax(np.fmin(mean, speed_bps), carried_bps)
    without_speed = bonds.any(counts & np.isnan(speed_bps))[bonds.of]
    blind = np.where(without_speed | np.isnan(speed_bps), 1.0, speed_bps)
    weight = np.where(np.isnan(known), np.where((of_bond > 0)[bonds.of], guess, blind), known)
    floor = FLOOR_SHARE * bonds.max(np.where(counts, weight, 0.0))[bonds.of]
    found: Floats = np.where(given_bps > 0, weight, np.maximum(weight, floor))
    return found
