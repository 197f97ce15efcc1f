"""broadcast: every packet over every link, delivered once."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from mpbond.lab import traffic
from mpbond.lab.bonds import Bonds, inner_address, pair
from mpbond.lab.netns import Lab, wait_for
from mpbond.lab.topology import Topology, link_address, two_hosts
from tests.netns.conftest import MakeBonds, path_on

pytestmark = [pytest.mark.root, pytest.mark.netns]

BROADCAST = {"basePolicy": "broadcast", "failoverInterval": 100}
# A hundred thousand packets of the 1 ms stream take as many milliseconds: on demand.
STREAM = 100_000 if os.environ.get("MPBOND_LONG_TESTS") else 12_000


# Packets of a stream that the slowest link can have under way: sent while the other
# link was out, they have no copy yet.
UNDER_WAY = 100


def carries(bonds: Bonds, link: str, packets: int) -> Callable[[], bool]:
    """Has the link carried so many packets since this was made?"""
    before = path_on(bonds.peek("a", "b"), link)["txPackets"]
    return lambda: bool(path_on(bonds.peek("a", "b"), link)["txPackets"] >= before + packets)


def shaped(lab: Lab) -> None:
    lab.shape("eth1", 20)
    lab.shape("eth2", 5)


def delayed(lab: Lab) -> None:
    lab.emulate("eth1", rate_mbit=20, delay_ms=10)
    lab.emulate("eth2", rate_mbit=5, delay_ms=40)


@pytest.mark.parametrize(
    ("topology", "impair"),
    [(two_hosts(2), shaped), (two_hosts(2).emulated(), delayed)],
    ids=["rates", "delays"],
)
def test_a_cut_of_either_link_loses_nothing(
    bonds_on: Callable[[Topology], Bonds], topology: Topology, impair: Callable[[Lab], None]
) -> None:
    """Links of 20 and 5 Mbit/s, of no delay or of 10 and 40 ms, cut in turn under a 1 ms stream."""
    bonds = bonds_on(topology)
    lab = bonds.lab
    impair(lab)
    ends = [[link_address(link, end) for link in (1, 2)] for end in (1, 2)]
    bonds.up(*pair(ends[0], ends[1], BROADCAST))
    bonds.wait_eligible("a", "b", 2)
    with traffic.stream(lab, "a", "b", inner_address("b"), count=STREAM) as stream:
        for _ in range(2):
            for wire in ("eth1", "eth2"):
                lab.cut(wire)
                wait_for(
                    f"{wire} seen dead",
                    lambda wire=wire: not path_on(bonds.peek("a", "b"), wire)["eligible"],  # type: ignore[misc]
                )
                lab.restore(wire)
                bonds.wait_eligible("a", "b", 2)
                wait_for(f"what {wire} did not carry has arrived", carries(bonds, wire, UNDER_WAY))
        report = stream.finish(timeout_s=STREAM / 1000 * 2 + 60)
    assert (report.sent, report.lost, report.duplicated) == (STREAM, 0, 0)
    reasons = bonds.show("b", "a")["reasons"]
    assert reasons["rx_duplicate"] >= STREAM / 2


def test_a_flood_delivers_no_duplicate(bonded: MakeBonds) -> None:
    """As fast as one process can send, over links received on whichever CPU."""
    bonds = bonded(BROADCAST, links=3, guarded=False)
    with traffic.stream(bonds.lab, "a", "b", inner_address("b"), interval_us=0, count=200_000) as stream:
        report = stream.finish()
    assert report.duplicated == 0
    assert report.received > 0.9 * report.sent, report.received
    reasons = bonds.show("b", "a")["reasons"]
    assert reasons["rx_duplicate"] > report.received


def test_one_copy_per_link_not_per_path(bonded: MakeBonds) -> None:
    """Two links with a path over each family: two copies, not four."""
    bonds = bonded(BROADCAST, guarded=False)
    before = {path["idx"]: path["txPackets"] for path in bonds.peek("a", "b")["paths"]}
    with traffic.stream(bonds.lab, "a", "b", inner_address("b"), count=500) as stream:
        report = stream.finish()
    assert report.lost == report.duplicated == 0
    sent = [path["txPackets"] - before[path["idx"]] for path in bonds.peek("a", "b")["paths"]]
    assert sorted(sent, reverse=True)[:2] == [500, 500]
    assert sum(sent) == 1000


def test_tcp_through_broadcast(bonded: MakeBonds) -> None:
    """Super-packets are cut before they are copied, and TCP sees no duplicate."""
    bonds = bonded(BROADCAST, guarded=False)
    with traffic.iperf_server(bonds.lab, "b"):
        assert traffic.tcp_bps(bonds.lab, "a", inner_address("b"), seconds=1) > 50e6
