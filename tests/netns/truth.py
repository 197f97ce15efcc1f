"""What a bond says of its paths beside what the emulator did to their packets.

Wires of many kinds at once, each a path of one bond; the truth is in the emulator's
log, packet by packet. Probes and their answers are told from data by their length.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mpbond.lab import traffic
from mpbond.lab.bonds import Bonds, inner_address, pair
from mpbond.lab.emulator import EmulationLog
from mpbond.lab.netns import Lab
from mpbond.lab.schedule import Impairment
from mpbond.lab.topology import link_address, two_hosts
from mpbond.wire import HEADER_LEN, PROBE_LEN

PROBE_FRAME = 14 + 20 + 8 + HEADER_LEN + PROBE_LEN
# The rings are full of what the wires are like by then.
SETTLED_S = 6
# How far a reported value may be from the true one: latency by the larger of two.
LATENCY_MS, LATENCY, PDV, RATIOS = 0.5, 0.05, 0.15, 0.2
# A loss below this is too rare to be known to a fifth after a minute.
LEAST_LOSS = 0.01


@dataclass(frozen=True)
class Figures:
    """Of one wire: delays in ms, ratios 0..1."""

    latency_ms: float
    pdv_ms: float
    plr: float
    per: float


@dataclass(frozen=True)
class Compared:
    wire: Impairment
    reported: Figures
    true: Figures

    def misses(self) -> list[str]:
        """Which of the reported values are too far from the true ones; of losses and
        errors only those that were to be seen."""
        reported, true = self.reported, self.true
        allowed = max(LATENCY_MS, LATENCY * true.latency_ms)
        found = [] if abs(reported.latency_ms - true.latency_ms) <= allowed else ["latency"]
        if self.wire.jitter_ms and not _near(reported.pdv_ms, true.pdv_ms, PDV):
            found.append("pdv")
        if self.wire.loss >= 100 * LEAST_LOSS and not _near(reported.plr, true.plr, RATIOS):
            found.append("plr")
        if self.wire.corrupt and not _near(reported.per, true.per, RATIOS):
            found.append("per")
        return found


def _near(value: float, true: float, share: float) -> bool:
    return abs(value - true) <= share * true


@dataclass(frozen=True)
class Bundle:
    """A bond over `wires`. Each has a copy of a stream of one packet in `interval_us`, or
    probes alone (0)."""

    name: str
    wires: Sequence[Impairment]
    failover_ms: int
    interval_us: int = 0


def damaging(*delays_ms: float) -> Bundle:
    """Half a percent damaged. Probed every 5 ms: of a minute of slower probes too few
    would be damaged to tell."""
    return Bundle("damaging", [Impairment(delay_ms, corrupt=0.5) for delay_ms in delays_ms], failover_ms=20)


def compare_at_once(folder: Path, bundles: Sequence[Bundle], seconds: int) -> list[Compared]:
    """All of them side by side, in labs of their own."""
    with ThreadPoolExecutor() as pool:
        folders = [folder / bundle.name for bundle in bundles]
        for made in folders:
            made.mkdir()
        found = pool.map(compare, folders, bundles, [seconds] * len(bundles))
        return [compared for of_bundle in found for compared in of_bundle]


def compare(folder: Path, bundle: Bundle, seconds: int) -> list[Compared]:
    """Delays are the mean of readings once a second, losses and errors the last
    reading."""
    wires = bundle.wires
    names = [f"eth{number}" for number in range(1, len(wires) + 1)]
    with Lab(two_hosts(len(wires)).emulated(), emulator="relay") as lab, ExitStack() as stack:
        for name, wire in zip(names, wires, strict=True):
            lab.emulate(name, delay_ms=wire.delay_ms, jitter_ms=wire.jitter_ms)
        bonds = Bonds(lab, folder)
        ends = [[link_address(link, end) for link in range(1, len(wires) + 1)] for end in (1, 2)]
        bonds.up(*pair(*ends, {"basePolicy": "broadcast", "failoverInterval": bundle.failover_ms}))
        bonds.wait_eligible("a", "b", len(wires), timeout_s=20)
        for number, (name, wire) in enumerate(zip(names, wires, strict=True)):
            lab.emulate(name, seed=number, **_all_of(wire))
        logs = [stack.enter_context(lab.emulation_log(name)) for name in names]
        stream = traffic.stream(lab, "a", "b", inner_address("b"), interval_us=bundle.interval_us)
        with stream if bundle.interval_us else nullcontext():
            readings = _readings(bonds, seconds)
    assert sum(log.missed for log in logs) == 0, "the machine had no time for the emulator"
    return [
        Compared(wire, _reported([reading[name] for reading in readings]), _truth(log))
        for wire, name, log in zip(wires, names, logs, strict=True)
    ]


def _all_of(wire: Impairment) -> dict[str, float]:
    return {name: getattr(wire, name) for name in Impairment.__slots__}


def _readings(bonds: Bonds, seconds: int) -> list[dict[str, Figures]]:
    """Once a second, by link. A value that is not known is 0."""
    found = []
    until = time.monotonic() + seconds
    while (left_s := until - time.monotonic()) > 0:
        signal.sigtimedwait(set(), min(1.0, left_s))
        found.append(
            {
                path["ifname"]: Figures(
                    path["latencyMean"] or 0.0,
                    path["latencyVariance"] or 0.0,
                    path["packetLossRatio"] or 0.0,
                    path["packetErrorRatio"] or 0.0,
                )
                for path in bonds.peek("a", "b")["paths"]
            }
        )
    return found


def _reported(readings: Sequence[Figures]) -> Figures:
    settled = readings[SETTLED_S:]
    return replace(
        readings[-1],
        latency_ms=float(np.mean([reading.latency_ms for reading in settled])),
        pdv_ms=float(np.mean([reading.pdv_ms for reading in settled])),
    )


def _truth(log: EmulationLog) -> Figures:
    """Delays of half a way there and back, losses of the way there, damage on the way
    back."""
    there, back = (_probe_delays_ms(log, direction) for direction in ("a->b", "b->a"))
    came_back = log.of("b->a", "passed")
    came_back = came_back[came_back["length"] == PROBE_FRAME]
    return Figures(
        latency_ms=float(there.mean() + back.mean()) / 2,
        pdv_ms=float((there.var() + back.var()) ** 0.5 / 2),
        plr=len(log.of("a->b", "loss")) / len(log.of("a->b")),
        per=float((came_back["bit"] >= 0).mean()),
    )


def _probe_delays_ms(log: EmulationLog, direction: str) -> npt.NDArray[np.float64]:
    passed = log.of(direction, "passed")
    passed = passed[passed["length"] == PROBE_FRAME]
    delays: npt.NDArray[np.float64] = (passed["out_ns"] - passed["in_ns"]) / 1e6
    return delays
