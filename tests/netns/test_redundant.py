"""redundant: voice beside bulk, and a link cut under both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from mpbond.controller.socket import ask
from mpbond.lab import emulator, traffic
from mpbond.lab.bonds import Bonds, inner_address, pair
from mpbond.lab.netns import Lab, wait_for
from mpbond.lab.topology import Topology, link_address, two_hosts
from tests.netns.conftest import path_on

pytestmark = [pytest.mark.root, pytest.mark.netns]

EF_TOS = 46 << 2
LINKS = ("eth1", "eth2")
RATE_MBIT = 50
# What TCP gets of a link's rate: 1,404 bytes of each frame of 1,514, the outer header
# and the inner ones being the rest.
PAYLOAD_SHARE = 1404 / 1514
VOICE = {
    "basePolicy": "balance-aware",
    "failoverInterval": 500,
    "links": {link: {"capacity": RATE_MBIT} for link in LINKS},
    "redundant": [{"dscp": 46}],
}


def with_a_lane_for_voice(lab: Lab, wire: str) -> None:
    """The wire's rate, and in front of it a queue of 20 ms that lets DSCP EF pass first:
    what a line or a router with such a queue does by the outer header's DSCP."""
    for side in (f"{wire}-a", f"{wire}-b"):
        lines = [
            f"qdisc replace dev {side} root handle 1: htb default 20",
            f"class add dev {side} parent 1: classid 1:1 htb rate {RATE_MBIT}mbit quantum 1514",
            f"class add dev {side} parent 1:1 classid 1:10 htb rate 5mbit ceil {RATE_MBIT}mbit "
            "prio 0 quantum 1514",
            f"class add dev {side} parent 1:1 classid 1:20 htb rate {RATE_MBIT - 5}mbit "
            f"ceil {RATE_MBIT}mbit prio 1 quantum 1514",
            f"qdisc add dev {side} parent 1:20 bfifo limit {RATE_MBIT * 20 * 1000 // 8}",
        ]
        for line in lines:
            lab.run("mid", ["tc", *line.split()])
        chain = f"from_{side.replace('-', '_')}"
        rule = f"insert rule netdev lab {chain} ip dscp ef meta priority set 1:10"
        lab.run("mid", ["nft", *rule.split()])


def shaped(bonds: Bonds) -> None:
    """Two links of this rate, whose packets go one by one as on real wires."""
    for link in LINKS:
        for host in ("a", "b"):
            emulator.as_on_a_real_wire(bonds.lab.ns(host), link)
        with_a_lane_for_voice(bonds.lab, link)


def up(bonds: Bonds, **changes: Any) -> None:
    ends = [[link_address(link, end) for link in (1, 2)] for end in (1, 2)]
    bonds.up(*pair(ends[0], ends[1], VOICE, **changes))
    for host, peer in (("a", "b"), ("b", "a")):
        bonds.wait_eligible(host, peer, 2)


def sent(bonds: Bonds, link: str, host: str = "a", peer: str = "b") -> tuple[int, int]:
    """Packets and bytes over a link."""
    path = path_on(bonds.peek(host, peer), link)
    return path["txPackets"], path["txBytes"]


@contextmanager
def voice(lab: Lab) -> Iterator[traffic.Stream]:
    with traffic.stream(lab, "a", "b", inner_address("b"), tos=EF_TOS) as stream:
        yield stream


def test_voice_beside_bulk_while_the_busiest_link_is_cut(bonds_on: Callable[[Topology], Bonds]) -> None:
    bonds = bonds_on(two_hosts(2))
    lab = bonds.lab
    shaped(bonds)
    up(bonds)
    with traffic.iperf_server(lab, "b"), voice(lab) as stream:
        bulk_bps = traffic.tcp_bps(lab, "a", inner_address("b"), seconds=6, flows=8, options="-O 2")
        with traffic.tcp_flows(lab, "a", inner_address("b"), seconds=60, flows=8) as flows:
            before = {link: sent(bonds, link)[1] for link in LINKS}
            wait_for(
                "20 MB of bulk",
                lambda: sent(bonds, "eth1")[1] + sent(bonds, "eth2")[1] > sum(before.values()) + 20_000_000,
            )
            busiest = max(LINKS, key=lambda link: sent(bonds, link)[1] - before[link])
            lab.cut(busiest)
            wait_for(f"{busiest} seen dead", lambda: not path_on(bonds.peek("a", "b"), busiest)["eligible"])
            other = LINKS[1 - LINKS.index(busiest)]
            since = sent(bonds, other)[1]
            wait_for("20 MB more over the other", lambda: sent(bonds, other)[1] > since + 20_000_000)
            assert not flows.ended(0.01)
        report = stream.stop()
    share = bulk_bps / (2 * RATE_MBIT * 1e6 * PAYLOAD_SHARE)
    print(
        f"bulk {bulk_bps / 1e6:.1f} Mbit/s, {share:.3f} of what two links can carry; {busiest} cut: {report}"
    )
    assert (report.lost, report.duplicated) == (0, 0)
    assert report.sent > 10_000
    assert share >= 0.9
    assert second_copies(bonds) > 5_000


def second_copies(bonds: Bonds) -> int:
    """Dropped by b, as the first ones were delivered."""
    found: int = ask(bonds.run_dir("b") / "mp0.sock", "snapshot")["reasons"]["rx_duplicate"]
    return found


def wait_for_copies(bonds: Bonds) -> None:
    before = second_copies(bonds)
    wait_for("copies", lambda: second_copies(bonds) > before + 200)


def wait_for_single_packets(bonds: Bonds) -> None:
    """Once those under way have come, no packet comes twice."""
    wait_for("the last copies", lambda: _unchanged(bonds))


def _unchanged(bonds: Bonds) -> bool:
    before, packets = second_copies(bonds), sum(sent(bonds, link)[0] for link in LINKS)
    wait_for("200 packets", lambda: sum(sent(bonds, link)[0] for link in LINKS) > packets + 200)
    return second_copies(bonds) == before


def test_rules_outlive_the_controller_and_go_with_the_policy(bonds_on: Callable[[Topology], Bonds]) -> None:
    """kill -9, adopted; `bond set` to a policy without rules, and back; a stream loses nothing."""
    bonds = bonds_on(two_hosts(2))
    up(bonds)
    assert "over two links: dscp 46" in bonds.mpbond("a", "plan", str(bonds.folder / "site-a.yaml"))
    with traffic.stream(bonds.lab, "a", "b", inner_address("b", 6), tos=EF_TOS) as stream:
        wait_for_copies(bonds)
        bonds.kill("a")
        wait_for_copies(bonds)
        bonds.mpbond("a", "up", str(bonds.folder / "site-a.yaml"))
        wait_for_copies(bonds)
        for _ in range(2):
            bonds.mpbond("a", "bond", "set", "host-b", "balance-aware")
            wait_for_single_packets(bonds)
            bonds.mpbond("a", "bond", "set", "host-b", "lab")
            wait_for_copies(bonds)
        report = stream.stop()
    assert (report.lost, report.duplicated) == (0, 0), report
