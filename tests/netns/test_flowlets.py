"""Flowlets: weights that change all the time, over links of 10 and 60 ms, put nothing out of order."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pyroute2 import IPRoute

from mpbond import abi
from mpbond.controller import adopt
from mpbond.kernel.dataplane import Dataplane
from mpbond.lab.bonds import Bonds, inner_address, pair
from mpbond.lab.emulator import in_namespace
from mpbond.lab.netns import Lab
from mpbond.lab.topology import Topology, link_address, two_hosts
from mpbond.weights import fill_slots

pytestmark = [pytest.mark.root, pytest.mark.netns]

AWARE = {"basePolicy": "balance-aware", "failoverInterval": 2000}
DELAY_MS = {"eth1": 10, "eth2": 60}
# How late the emulator may be with a packet, at most: it is a process among others.
LATE_MS = 15
FLOWS = 200
# A minute of each is on demand.
SECONDS = 60 if os.environ.get("MPBOND_LONG_TESTS") else 12
# Of all packets, this many may come after a later one of their flow.
MOST_LATE = 0.0001
_BURSTS = [sys.executable, str(Path(__file__).with_name("bursts.py"))]


@dataclass(frozen=True, slots=True)
class Came:
    """`late`: packets that came after a later one of their flow; `moves` of flows."""

    sent: int
    packets: int
    late: int
    flows: int
    moves: int

    @property
    def share_late(self) -> float:
        return self.late / self.packets


def plane_of(bonds: Bonds, host: str) -> Dataplane:
    """The maps of a running bond, as its controller has them."""

    def find() -> Dataplane | None:
        with IPRoute() as ipr:
            return adopt.find(ipr, "mp0")

    plane = in_namespace(bonds.lab.ns(host), find)
    assert plane is not None
    return plane


@contextmanager
def alone(bonds: Bonds, host: str) -> Iterator[None]:
    """The controller of a host stands still: who carries is the test's to write. The peer's
    probes prove the paths meanwhile."""
    bonds.signal(host, signal.SIGSTOP)
    try:
        yield
    finally:
        bonds.signal(host, signal.SIGCONT)


def paths_by_link(bonds: Bonds, plane: Dataplane) -> dict[str, int]:
    return {path["ifname"]: plane.path_index(0, path["idx"]) for path in bonds.peek("a", "b")["paths"]}


def start(lab: Lab, host: str, *words: str) -> subprocess.Popen[Any]:
    return lab.start(host, [*_BURSTS, *words], stdout=subprocess.PIPE, text=True)


def weighed_anew(plane: Dataplane, paths: dict[str, int], sender: subprocess.Popen[Any], seed: int) -> None:
    """Other weights every second, any from 1:9 to 9:1, until the sender has ended."""
    chooser = random.Random(seed)
    due_s = time.monotonic()
    while sender.poll() is None:
        share = chooser.uniform(0.1, 0.9)
        shares = {paths["eth1"]: share, paths["eth2"]: 1 - share}
        plane.set_slots(0, fill_slots(plane.slots(0), shares))
        due_s += 1
        time.sleep(max(0, due_s - time.monotonic()))


def run(lab: Lab, plane: Dataplane, paths: dict[str, int], seed: int) -> Came:
    before = int(plane.bonds_live["moved_flows"][0])
    receiver = start(lab, "b", "receive", inner_address("b"))
    assert receiver.stdout is not None and receiver.stdout.readline() == "ready\n"
    sender = start(lab, "a", "send", inner_address("b"), str(FLOWS), str(SECONDS), str(seed))
    weighed_anew(plane, paths, sender, seed)
    sent = json.loads(sender.communicate(timeout=30)[0])["packets"]
    receiver.send_signal(signal.SIGTERM)
    came = json.loads(receiver.communicate(timeout=30)[0])
    return Came(sent, moves=int(plane.bonds_live["moved_flows"][0]) - before, **came)


@pytest.mark.timeout(3 * SECONDS + 120)
def test_weights_that_change_every_second_put_nothing_out_of_order(
    bonds_on: Callable[[Topology], Bonds],
) -> None:
    """And without flowlets, beside it, they do."""
    bonds = bonds_on(two_hosts(2).emulated())
    lab = bonds.lab
    for link, delay_ms in DELAY_MS.items():
        lab.emulate(link, "a->b", delay_ms=delay_ms)
    ends = [[link_address(link, end) for link in (1, 2)] for end in (1, 2)]
    bonds.up(*pair(ends[0], ends[1], AWARE))
    for host, peer in (("a", "b"), ("b", "a")):
        bonds.wait_eligible(host, peer, 2)
    plane = plane_of(bonds, "a")
    paths = paths_by_link(bonds, plane)
    with alone(bonds, "a"):
        for link, delay_ms in DELAY_MS.items():
            ahead_us = (delay_ms - DELAY_MS["eth1"]) * 1000
            plane.set_forward(paths[link], ahead_us, ahead_us + LATE_MS * 1000)
        with_flowlets = run(lab, plane, paths, seed=1)
        plane.bonds["flags"][0] |= int(abi.BondFlag.NO_FLOWLETS)
        without = run(lab, plane, paths, seed=1)
    plane.close()
    print(f"flowlets: {with_flowlets.share_late:.4%} late, {with_flowlets}")
    print(f"without:  {without.share_late:.4%} late, {without}")
    for came in (with_flowlets, without):
        assert came.packets == came.sent > 2000 * SECONDS
        assert came.flows == FLOWS
        assert came.moves > FLOWS * SECONDS / 12, "the weights do something"
    assert with_flowlets.share_late < MOST_LATE
    assert without.share_late > 10 * MOST_LATE
