"""Two hosts, some links and flows as water: a bond for balance.py without a packet.

A link divides what it has among its flows, as far as they want it; a flow of TCP
wants everything and keeps a queue on whatever it fills. What the controller would
measure of it comes out as `Estimates`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mpbond.abi import NO_PATH, SLOTS
from mpbond.balance import Balance, Move, Place
from mpbond.rows import Floats, Ints
from mpbond.samples import FORWARD_UNKNOWN, Estimates

MS = 1_000_000
PERIOD_NS = 250 * MS
FIGURE_NS = 500 * MS
MBIT = 1e6
TCP = float("inf")
QUEUE_MS = 15.0


@dataclass(slots=True)
class Link:
    """`mbit`: what it carries; `given`: what the file says. `policed`: no queue."""

    mbit: float
    given: int = 0
    speed: float = float("nan")
    quality: float = 1.0
    carries: bool = True
    policed: bool = False
    loss: float = 0.0
    queue_ms: float = 0.0
    sent_bps: float = 0.0
    delivered_bps: float = 0.0


@dataclass(slots=True)
class Flow:
    """`mbit`: what it wants; `moves`: when it changed its link, in ns."""

    slot: int
    mbit: float
    link: int
    moves: list[int] = field(default_factory=list)
    bps: float = 0.0


class Bond:
    """One bond, path n over link n. `steps` are control periods."""

    def __init__(self, links: Sequence[Link], *, seed: int = 1) -> None:
        self.links = list(links)
        self.flows: list[Flow] = []
        self.table = [NO_PATH] * SLOTS
        self.tables: list[Move] = []
        self.now_ns = 100 * FIGURE_NS
        self._turn = 0
        self._random = random.Random(seed)
        self._bytes = np.zeros((1, SLOTS))
        self._figures = np.zeros(len(links))
        self._figure_at = np.zeros(len(links), np.int64)
        self.balance = Balance()
        count = len(links)
        self.balance.place(
            Place(
                np.arange(count),
                np.zeros(count, np.int64),
                np.arange(count),
                np.array([link.given * MBIT for link in links]),
                np.array([link.speed * MBIT for link in links]),
            )
        )
        self._decide()

    def start(self, count: int, mbit: float = TCP, slot: int | None = None) -> None:
        """New flows take slots as the kernel gives them."""
        for _ in range(count):
            own = self._turn * 157 % SLOTS if slot is None else slot
            self._turn += 1
            self.flows.append(Flow(own, mbit, self.table[own]))

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds * 1e9 / PERIOD_NS)):
            self._flow()
            self.now_ns += PERIOD_NS
            self._decide()

    # ---- the water ----------------------------------------------------------------

    def _flow(self) -> None:
        for flow in self.flows:
            if flow.link != self.table[flow.slot]:
                flow.link = self.table[flow.slot]
                flow.moves.append(self.now_ns)
        for number, link in enumerate(self.links):
            self._divide(link, [flow for flow in self.flows if flow.link == number])
        for flow in self.flows:
            sent_bps = flow.bps if flow.mbit == TCP else flow.mbit * MBIT
            self._bytes[0, flow.slot] += sent_bps / 8 * PERIOD_NS / 1e9

    def _divide(self, link: Link, flows: list[Flow]) -> None:
        left, waiting = link.mbit * MBIT * (1 - link.loss), sorted(flows, key=lambda flow: flow.mbit)
        for number, flow in enumerate(waiting):
            flow.bps = min(flow.mbit * MBIT, left / (len(waiting) - number))
            left -= flow.bps
        wanted = sum(flow.mbit for flow in flows) * MBIT
        full = bool(flows) and wanted > link.mbit * MBIT
        link.delivered_bps = sum(flow.bps for flow in flows)
        link.sent_bps = min(wanted, link.delivered_bps * 1.01) if wanted == TCP else wanted
        link.queue_ms = QUEUE_MS * self._random.uniform(0.5, 1.5) if full and not link.policed else 0.0

    # ---- the controller ------------------------------------------------------------

    def _estimates(self) -> Estimates:
        count = len(self.links)
        renew = self.now_ns - self._figure_at >= FIGURE_NS
        noise = np.array([self._random.gauss(1.0, 0.02) for _ in self.links])
        delivered = np.array([link.delivered_bps for link in self.links]) * noise
        self._figures = np.where(renew, delivered, self._figures)
        self._figure_at = np.where(renew, self.now_ns, self._figure_at)
        full_loss = [0.01 if link.delivered_bps >= 0.99 * link.mbit * MBIT else 0.0 for link in self.links]
        loss = np.array([max(link.loss, lost) for link, lost in zip(self.links, full_loss, strict=True)])
        nothing = np.zeros(count)
        return Estimates(
            latency_ms=nothing + 10.0,
            pdv_ms=nothing,
            plr=loss,
            per=nothing,
            plr_least=loss * 0.8,
            per_least=nothing,
            delivered_bps=self._figures.copy(),
            sent_bps=np.array([link.sent_bps for link in self.links]),
            figure_ns=self._figure_at.copy(),
            forward_ns=np.full(count, FORWARD_UNKNOWN),
            recent_ms=nothing + 10.0,
            queue_ms=np.array([link.queue_ms for link in self.links]),
            silent=nothing > 0,
        )

    def _decide(self) -> None:
        carries = np.array([link.carries for link in self.links])
        estimates = self._estimates()
        self.balance.measure(self.now_ns, estimates, carries)
        self.balance.weigh(carries.astype(float), np.array([link.quality for link in self.links]))
        self.balance.count_slots(self.now_ns, lambda _: self._bytes.astype(np.uint64))
        everyone = np.ones(len(self.links), bool)
        for move in self.balance.moves(self.now_ns, estimates.sent_bps, everyone, lambda _: self.table):
            self.table = move.table
            self.tables.append(move)

    # ---- what is looked at -----------------------------------------------------------

    @property
    def estimated_mbit(self) -> Floats:
        return self.balance.link.bps / MBIT

    @property
    def delivered_mbit(self) -> float:
        return sum(link.delivered_bps for link in self.links) / MBIT

    def flows_on(self) -> Ints:
        """Flows of each link, as the table has it."""
        return np.bincount([self.table[flow.slot] for flow in self.flows], minlength=len(self.links))

    def slots_on(self) -> Ints:
        return np.bincount(self.table, minlength=len(self.links))[: len(self.links)]
