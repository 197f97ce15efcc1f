"""What tx costs per packet, by BPF_PROG_TEST_RUN: over flows, policies, families.

Every run is one packet of another flow through the real program, encapsulation
included; the kernel's own timer is read and its overhead, that of a program that
does nothing, taken off. pytest-benchmark times the same runs from outside, system
call included: compare those figures with each other only.
"""

from __future__ import annotations

import random
import statistics
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from mpbond import abi
from mpbond.kernel import bpf
from mpbond.kernel.dataplane import Dataplane
from mpbond.kernel.sizes import Sizes
from tests.bpf import packets
from tests.bpf.lab import Lab
from tests.bpf.rig import BondSetup, PathSetup, Rig

pytestmark = pytest.mark.root

FLOWS = (1, 1_000, 100_000, 1_000_000)
SAMPLES = 50_000
# Where an IPv4 packet behind Ethernet has its source address: the flow's number.
SOURCE_OFFSET = 26
RESULTS = Path(__file__).parent / "results" / "tx_cost.txt"


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    """Room for more flows than are sent: evictions are not what is measured."""
    plane = Dataplane.create(Sizes(bonds=3, block=20, flows=1_100_000, prefixes=64))
    lab = Lab()
    try:
        lab.attach(plane)
        made = Rig(plane, lab)
        made.reset()
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text("policy         flows    ns per packet (median, mean)\n")
        yield made
    finally:
        lab.close()
        plane.close()


class FlowRun:
    """The program, run with a packet of any flow."""

    def __init__(self, rig: Rig, program: str) -> None:
        self._packet = bytearray(packets.ether(packets.tcp4()))
        context = bpf.skb_context(ifindex=rig.lab.mp0)
        self._run = bpf.PreparedRun(rig.plane.programs[program], self._packet, context)

    def __call__(self, flow: int) -> int:
        struct.pack_into(">I", self._packet, SOURCE_OFFSET, flow)
        return self._run.run()


def timer_ns(rig: Rig) -> float:
    """What the kernel's timer says of a program that returns at once."""
    idle = FlowRun(rig, "rx_l3")
    return statistics.median(idle(1) for _ in range(2_000))


@pytest.mark.parametrize("flows", FLOWS)
@pytest.mark.parametrize(
    "policy", [abi.PolicyCode.ACTIVE_BACKUP, abi.PolicyCode.BALANCE_XOR, abi.PolicyCode.BALANCE_AWARE]
)
def test_tx_cost(benchmark: BenchmarkFixture, rig: Rig, policy: abi.PolicyCode, flows: int) -> None:
    rig.reset()
    rig.bond(BondSetup(paths=(PathSetup(), PathSetup()), policy=policy))
    send = FlowRun(rig, "tx")
    for flow in range(flows):
        send(flow)
    chooser = random.Random(flows)
    order = [chooser.randrange(flows) for _ in range(SAMPLES)]
    durations_ns = benchmark.pedantic(lambda: [send(flow) for flow in order], rounds=3)
    timer = timer_ns(rig)
    median, mean = statistics.median(durations_ns) - timer, statistics.fmean(durations_ns) - timer
    benchmark.extra_info["ns_per_packet"] = median
    with RESULTS.open("a") as file:
        file.write(f"{policy.name.lower():13} {flows:>9,} {median:>8.0f} {mean:>8.0f}\n")
