"""balance-aware keeps unlike links full, whether or not it is told what they carry.

Rates are of inner IP packets at the receiver. A full packet is 1456 bytes inside, 1514
on the link, so that a link of 100 Mbit/s carries 96.2 Mbit/s of the former.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from mpbond.lab import traffic
from mpbond.lab.bonds import Bonds, inner_address, pair
from mpbond.lab.netns import wait_for
from mpbond.lab.topology import Topology, link_address, two_hosts
from tests.netns.conftest import path_on

pytestmark = [pytest.mark.root, pytest.mark.netns]

RATES_MBIT = {"eth1": 100, "eth2": 20}
INNER_SHARE = 1456 / 1514
FLOWS = 16


@dataclass(frozen=True, slots=True)
class Window:
    """What came in over each link in a stretch of time, Mbit/s."""

    mbit: dict[str, float]

    @property
    def total(self) -> float:
        """Of what the two links can carry together, 0..1."""
        return sum(self.mbit.values()) / INNER_SHARE / sum(RATES_MBIT.values())

    def used(self, link: str) -> float:
        return self.mbit[link] / INNER_SHARE / RATES_MBIT[link]


def received(bonds: Bonds) -> dict[str, int]:
    return {path["ifname"]: path["rxBytes"] for path in bonds.peek("b", "a")["paths"]}


def window(bonds: Bonds, started_s: float, begin_s: float, end_s: float) -> Window:
    """From `begin_s` to `end_s` after the start."""
    counts = []
    for at_s in (begin_s, end_s):
        time.sleep(max(0.0, started_s + at_s - time.monotonic()))
        counts.append((time.monotonic(), received(bonds)))
    (begun_s, before), (ended_s, after) = counts
    return Window({link: (after[link] - before[link]) * 8e-6 / (ended_s - begun_s) for link in after})


@contextmanager
def busy(bonds: Bonds, seconds: int) -> Iterator[float]:
    """Sixteen flows from a to b; when they began."""
    with (
        traffic.iperf_server(bonds.lab, "b"),
        traffic.tcp_flows(
            bonds.lab, "a", inner_address("b"), seconds=seconds, flows=FLOWS, options="-C cubic"
        ),
    ):
        yield time.monotonic()


def unequal(bonds_on: Callable[[Topology], Bonds], links: int, capacities: bool) -> Bonds:
    bonds = bonds_on(two_hosts(links))
    for link, rate in RATES_MBIT.items():
        bonds.lab.shape(link, rate, queue_ms=50)
    policy: dict[str, Any] = {"basePolicy": "balance-aware", "failoverInterval": 500}
    if capacities:
        policy["links"] = {link: {"capacity": rate} for link, rate in RATES_MBIT.items()}
    ends = [[link_address(link, end) for link in range(1, links + 1)] for end in (1, 2)]
    bonds.up(*pair(ends[0], ends[1], policy))
    return bonds


@pytest.mark.parametrize(("capacities", "within_s"), [(False, 20), (True, 3)], ids=["estimated", "given"])
def test_unlike_links_are_both_kept_full(
    bonds_on: Callable[[Topology], Bonds], capacities: bool, within_s: float
) -> None:
    bonds = unequal(bonds_on, 2, capacities)
    bonds.wait_eligible("a", "b", 2)
    # Ten seconds of it: TCP flows that have just lost a packet take some to fill a link again.
    with busy(bonds, int(within_s) + 15) as started_s:
        seen = window(bonds, started_s, within_s, within_s + 10)
    print(f"{seen.total:.3f} of both; {', '.join(f'{link} {seen.used(link):.3f}' for link in RATES_MBIT)}")
    assert seen.total >= 0.93, seen
    assert min(seen.used(link) for link in RATES_MBIT) >= 0.9, seen


def test_what_the_links_carry_is_found_out(bonds_on: Callable[[Topology], Bonds]) -> None:
    """Shown as estimated, and the shares of new flows follow."""
    bonds = unequal(bonds_on, 2, False)
    bonds.wait_eligible("a", "b", 2)
    with busy(bonds, 12):

        def found() -> list[dict[str, Any]] | None:
            paths = [path_on(bonds.peek("a", "b"), link) for link in RATES_MBIT]
            return paths if all(path["capacityEstimated"] for path in paths) else None

        paths = wait_for("both links' capacity", found, timeout_s=10)
        for path, rate_mbit in zip(paths, RATES_MBIT.values(), strict=True):
            assert path["capacity"] is None
            assert path["capacityEstimated"] == pytest.approx(rate_mbit * INNER_SHARE, rel=0.1)
        wait_for(
            "shares to follow",
            lambda: path_on(bonds.peek("a", "b"), "eth1")["allocation"] == pytest.approx(100 / 120, abs=0.04),
        )


def test_a_lossy_link_beside_them_takes_nothing_away(bonds_on: Callable[[Topology], Bonds]) -> None:
    bonds = unequal(bonds_on, 3, False)
    bonds.lab.shape("eth3", 100, queue_ms=50)
    bonds.lab.cut("eth3")
    bonds.wait_eligible("a", "b", 2)
    with busy(bonds, 34) as started_s:
        before = window(bonds, started_s, 14, 19)
        bonds.lab.lose("eth3", 20)
        after = window(bonds, started_s, 22, 32)
    print(f"{before.total:.3f}, then {after.total:.3f}")
    assert after.total >= 0.9 * before.total
