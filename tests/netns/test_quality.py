"""Paths that break a limit lose their flows, and get them back when they recover."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from mpbond.lab import traffic
from mpbond.lab.bonds import Bonds, inner_address, pair
from mpbond.lab.netns import Lab, wait_for
from mpbond.lab.topology import Topology, link_address, two_hosts
from tests.netns.conftest import path_on

pytestmark = [pytest.mark.root, pytest.mark.netns]

# At 8 probes a second: a change of the path is seen by three of them.
LIMITED = {
    "basePolicy": "balance-aware",
    "failoverInterval": 500,
    "linkQuality": {"lat_max": 100},
    "links": {"eth1": {"capacity": 20}, "eth2": {"capacity": 20}},
}
# What may still be under way or be a stray: of two streams of 500 packets a second.
STRAY_PACKETS = 10
LOOK_S = 0.1
EDGE_S = 300 if os.environ.get("MPBOND_LONG_TESTS") else 30


@pytest.fixture
def limited(bonds_on: Callable[[Topology], Bonds]) -> Callable[[dict[str, Any]], Bonds]:
    """Hosts a and b over two emulated links of 10 ms and 20 Mbit/s."""

    def make(policy: dict[str, Any]) -> Bonds:
        bonds = bonds_on(two_hosts(2).emulated())
        for link in ("eth1", "eth2"):
            slow(bonds.lab, link, 10)
        ends = [[link_address(link, end) for link in (1, 2)] for end in (1, 2)]
        bonds.up(*pair(ends[0], ends[1], policy))
        for host, peer in (("a", "b"), ("b", "a")):
            bonds.wait_eligible(host, peer, 2)
        return bonds

    return make


def slow(lab: Lab, link: str, delay_ms: float) -> None:
    lab.emulate(link, delay_ms=delay_ms, rate_mbit=20, queue_ms=50)


def path(bonds: Bonds, link: str) -> dict[str, Any]:
    return path_on(bonds.peek("a", "b"), link)


@contextmanager
def steady(bonds: Bonds, count: int) -> Iterator[None]:
    """UDP streams, 500 packets a second each, that never pause."""
    with ExitStack() as stack:
        for number in range(count):
            where = {"port": 5990 + number, "source_port": 7000 + number}
            stream = traffic.stream(bonds.lab, "a", "b", inner_address("b"), interval_us=2000, **where)
            stack.enter_context(stream)
        yield


def used_since(bonds: Bonds, link: str) -> Callable[[], int]:
    """How many packets went over the link since it was asked last."""
    last = [path(bonds, link)["txPackets"]]

    def asked() -> int:
        before, last[0] = last[0], path(bonds, link)["txPackets"]
        return int(last[0] - before)

    return asked


def when_used(bonds: Bonds, link: str, wanted: bool, timeout_s: float) -> float:
    """Seconds until (next to) nothing goes over the link, or something does, and stays so
    for half a second."""
    began_s, since_s, used = time.monotonic(), time.monotonic(), used_since(bonds, link)
    while time.monotonic() - began_s < timeout_s:
        time.sleep(LOOK_S)
        if (used() > STRAY_PACKETS) is not wanted:
            since_s = time.monotonic()
        elif time.monotonic() - since_s >= 0.5:
            return since_s - began_s
    raise AssertionError(f"{link}: not {'used' if wanted else 'left'} within {timeout_s} s")


def events(bonds: Bonds) -> str:
    return (bonds.run_dir("a") / "mp0.log").read_text()


def test_flows_leave_a_slow_path_and_come_back(limited: Callable[[dict[str, Any]], Bonds]) -> None:
    """From 10 to 300 ms under TCP and steady streams: off it within 2 s; back within 10 s
    after it has recovered."""
    bonds = limited(LIMITED)
    with (
        traffic.iperf_server(bonds.lab, "b"),
        traffic.tcp_flows(bonds.lab, "a", inner_address("b"), seconds=90, flows=6, options="-C cubic"),
        steady(bonds, 4),
    ):
        for link in ("eth1", "eth2"):
            when_used(bonds, link, True, 10)
        slow(bonds.lab, "eth1", 300)
        left_s = when_used(bonds, "eth1", False, 10)
        assert path(bonds, "eth1")["avoided"] and path(bonds, "eth1")["allocation"] == 0
        slow(bonds.lab, "eth1", 10)
        back_s = when_used(bonds, "eth1", True, 20)
        # A little less than the other at first: the last 64 probes still vary.
        assert not path(bonds, "eth1")["avoided"] and path(bonds, "eth1")["allocation"] > 0.3
    print(f"left after {left_s:.2f} s, back after {back_s:.2f} s")
    assert left_s <= 2 and back_s <= 10, (left_s, back_s, events(bonds))


@pytest.mark.timeout(EDGE_S + 120)
def test_at_the_edge_of_a_limit_flows_do_not_swing(limited: Callable[[dict[str, Any]], Bonds]) -> None:
    """A latency about the limit: two moves a minute at most."""
    bonds = limited(LIMITED)
    changes, began_s = [path(bonds, "eth1")["avoided"]], time.monotonic()
    with steady(bonds, 4):
        while (passed_s := time.monotonic() - began_s) < EDGE_S:
            slow(bonds.lab, "eth1", 110 if int(passed_s / 4) % 2 == 0 else 70)
            time.sleep(0.25)
            if (now := path(bonds, "eth1")["avoided"]) is not changes[-1]:
                changes.append(now)
    moves = len(changes) - 1
    print(f"{moves} changes in {EDGE_S} s")
    assert 1 <= moves <= max(2, 2 * EDGE_S / 60), events(bonds)


def test_a_change_of_quality_is_in_the_slots_as_soon_as_it_is_shown(
    limited: Callable[[dict[str, Any]], Bonds],
) -> None:
    """A listing in which a path's quality is another shows other slots too."""
    bonds = limited(LIMITED)
    before = wait_for("a quality", lambda: path(bonds, "eth1")["relativeQuality"])
    slow(bonds.lab, "eth1", 60)

    def changed() -> dict[str, Any] | None:
        now = path(bonds, "eth1")
        return now if now["relativeQuality"] < before - 0.1 else None

    now = wait_for("a lower quality of eth1", changed)
    other = path(bonds, "eth2")
    share = now["relativeQuality"] / (now["relativeQuality"] + other["relativeQuality"])
    assert now["allocation"] == pytest.approx(share, abs=0.035)


def test_probes_that_are_lost_for_a_while_move_nothing(
    limited: Callable[[dict[str, Any]], Bonds],
) -> None:
    """A path without any packet for three quarters of failoverInterval, twice."""
    bonds = limited({**LIMITED, "failoverInterval": 2000})
    before = bonds.peek("a", "b")
    told = events(bonds)
    for _ in range(2):
        bonds.lab.cut("eth1")
        time.sleep(1.5)
        bonds.lab.restore("eth1")
        wait_for("an answer", lambda: path(bonds, "eth1")["lastInAge"] < 100)
        time.sleep(2)
        after = bonds.peek("a", "b")
        assert after["failoverEvents"] == before["failoverEvents"]
        assert [one["allocation"] for one in after["paths"]] == [one["allocation"] for one in before["paths"]]
    assert events(bonds) == told
