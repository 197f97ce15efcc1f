"""What the balance policies put on the wire: turns, flows that stay, shares."""

from __future__ import annotations

import itertools
import json
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mpbond.lab import traffic
from mpbond.lab.bonds import Bonds, inner_address, pair
from mpbond.lab.netns import Lab, wait_for
from mpbond.lab.topology import Topology, link_address, two_hosts
from tests.netns.conftest import MakeBonds, path_on, xor

pytestmark = [pytest.mark.root, pytest.mark.netns]

_SCRIPT = [sys.executable, str(Path(__file__).with_name("capture.py"))]
# Chi-square that chance exceeds once in a million, by degrees of freedom.
_CHI_SQUARE = {1: 23.9, 2: 27.6, 4: 33.4}


class Capture:
    """Outgoing data packets of a host, as (link, inner source port) in order."""

    packets: list[tuple[str, int]]

    def links(self) -> list[str]:
        return [link for link, _ in self.packets]

    def flows(self) -> dict[int, list[str]]:
        """Port -> links its packets left by, each change of link once."""
        found: dict[int, list[str]] = {}
        for link, port in self.packets:
            taken = found.setdefault(port, [])
            if not taken or taken[-1] != link:
                taken.append(link)
        return found


@contextmanager
def captured(lab: Lab, host: str) -> Iterator[Capture]:
    """Filled in when the block ends."""
    process = lab.start(host, _SCRIPT, stdout=-1, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    capture = Capture()
    yield capture
    process.send_signal(signal.SIGTERM)
    capture.packets = [(link, port) for link, port in json.loads(process.communicate(timeout=60)[0])]


def send_flows(lab: Lab, flows: int, *, rounds: int = 1, size: int = 100) -> None:
    """From a to b, a packet of every flow in each round."""
    words = [*_SCRIPT, "send", inner_address("b"), str(flows), str(rounds), str(size)]
    lab.run("a", words, timeout_s=120)


def round_robin(packets_per_link: int) -> dict[str, Any]:
    return {"basePolicy": "balance-rr", "packetsPerLink": packets_per_link, "failoverInterval": 500}


# ---- balance-rr -------------------------------------------------------------------------


@pytest.mark.parametrize("packets_per_link", [1, 7, 64, 1000])
def test_rr_takes_turns_on_the_wire(bonded: MakeBonds, packets_per_link: int) -> None:
    bonds = bonded(round_robin(packets_per_link), links=3, guarded=False)
    with captured(bonds.lab, "a") as capture:
        send_flows(bonds.lab, 64, rounds=1000)
    runs = [(link, len(list(group))) for link, group in itertools.groupby(capture.links())]
    assert sum(length for _, length in runs) == 64_000
    # What came before, pings of nobody's, may have used a part of the first turn.
    assert {length for _, length in runs[1:-1]} == {packets_per_link}
    turn = [link for link, _ in runs[:3]]
    assert set(turn) == {"eth1", "eth2", "eth3"}
    assert all(link == turn[number % 3] for number, (link, _) in enumerate(runs))


def test_rr_at_random(bonded: MakeBonds) -> None:
    bonds = bonded(round_robin(0), links=3, guarded=False)
    with captured(bonds.lab, "a") as capture:
        send_flows(bonds.lab, 64, rounds=1000)
    counts = Counter(capture.links())
    assert sum(counts.values()) == 64_000
    assert all(abs(count - 64_000 / 3) <= 0.03 * 64_000 / 3 for count in counts.values()), counts


def test_rr_gives_one_tcp_flow_both_links(bonds_on: Callable[[Topology], Bonds]) -> None:
    """Two links of 100 Mbit/s: one flow gets at least 1.85 times what one link gives.
    A link turn of one packet: longer ones reorder more than TCP likes (docs/policies.md)."""
    bonds = bonds_on(two_hosts(3).with_wires(rate_mbit=100))
    ends = [[link_address(link, end) for link in (1, 2)] for end in (1, 2)]
    bonds.up(*pair(ends[0], ends[1], round_robin(1)))
    bonds.wait_eligible("a", "b", 2)
    with traffic.iperf_server(bonds.lab, "b"):
        options = "-C cubic"
        one = traffic.tcp_bps(bonds.lab, "a", link_address(3, 2), seconds=4, options=options)
        both = traffic.tcp_bps(bonds.lab, "a", inner_address("b"), seconds=4, options=options)
    print(f"one link {one / 1e6:.0f}, both {both / 1e6:.0f} Mbit/s: {both / one:.2f}")
    assert both >= 1.85 * one, (both, one)


# ---- balance-xor ------------------------------------------------------------------------


@pytest.mark.parametrize("links", [2, 3, 5])
def test_xor_divides_flows_evenly(bonded: MakeBonds, links: int) -> None:
    bonds = bonded(xor(500), links=links, guarded=False)
    with captured(bonds.lab, "a") as capture:
        send_flows(bonds.lab, 1000, rounds=3)
    flows = capture.flows()
    assert len(flows) == 1000
    assert all(len(taken) == 1 for taken in flows.values()), "a flow changed its path"
    counts = Counter(taken[0] for taken in flows.values())
    expected = 1000 / links
    chi_square = sum((counts[f"eth{n}"] - expected) ** 2 / expected for n in range(1, links + 1))
    assert chi_square < _CHI_SQUARE[links - 1], counts


def test_xor_moves_only_the_dead_links_flows_and_none_back(bonded: MakeBonds) -> None:
    bonds = bonded(xor(100), links=3)
    lab = bonds.lab
    with captured(lab, "a") as capture:
        send_flows(lab, 300)
        lab.cut("eth2")
        wait_for("eth2 seen dead", lambda: not path_on(bonds.peek("a", "b"), "eth2")["eligible"])
        send_flows(lab, 300)
        lab.restore("eth2")
        bonds.wait_eligible("a", "b", 3)
        send_flows(lab, 300)
    for taken in capture.flows().values():
        if taken[0] == "eth2":
            assert len(taken) == 2 and taken[1] in ("eth1", "eth3"), "moved once, and not back"
        else:
            assert len(taken) == 1, "stayed where it was"
    moved = Counter(taken[-1] for taken in capture.flows().values() if taken[0] == "eth2")
    assert min(moved["eth1"], moved["eth3"]) > 0, "they divide among the others"


# ---- balance-aware ----------------------------------------------------------------------


@pytest.mark.parametrize("capacities", [(1000, 250), (10_000, 1000, 100)])
def test_aware_divides_by_capacity(bonded: MakeBonds, capacities: tuple[int, ...]) -> None:
    """Bytes of 2,000 equal flows within two points of the shares."""
    links = {f"eth{number}": {"capacity": mbit} for number, mbit in enumerate(capacities, 1)}
    policy = {"basePolicy": "balance-aware", "failoverInterval": 500, "links": links}
    bonds = bonded(policy, links=len(capacities), guarded=False)
    send_flows(bonds.lab, 2000, rounds=5, size=1000)
    paths = bonds.show("a", "b")["paths"]
    total = sum(path["txBytes"] for path in paths)
    assert total >= 2000 * 5 * 1000
    for number, mbit in enumerate(capacities, 1):
        share = path_on({"paths": paths}, f"eth{number}")["txBytes"] / total
        assert abs(share - mbit / sum(capacities)) <= 0.02, (number, share)
