"""maxSendKbps and maxRecvKbps with real traffic: how much comes, and what becomes of the rest."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from mpbond.lab import traffic
from mpbond.lab.bonds import Bonds, inner_address, pair, strangers
from mpbond.lab.netns import Lab, wait_for
from mpbond.lab.topology import Topology, link_address, two_hosts
from tests.netns.conftest import xor

pytestmark = [pytest.mark.root, pytest.mark.netns]

KBPS, BPS = 1250, 1250 * 1024 * 8
SECONDS = 6
IN_LAN = {"limitBandwidthInLan": True}


@pytest.fixture
def bonded_with(bonds_on: Callable[[Topology], Bonds]) -> Callable[..., Bonds]:
    """a and b over `links` links; `a`, `b`: what each says of the other."""

    def make(
        links: int,
        a: dict[str, Any],
        b: dict[str, Any],
        settings: dict[str, Any],
        policy: Any = None,
        *,
        shared: bool = False,
    ) -> Bonds:
        bonds = bonds_on(two_hosts(links))
        ends = [[link_address(link, end) for link in range(1, links + 1)] for end in (1, 2)]
        keys = {} if shared else {"key": "", "privates": strangers("a", "b")}
        sites = pair(ends[0], ends[1], policy or xor(), settings=settings, **keys)
        for site, extra in zip(sites, (a, b), strict=True):
            site.peer_extra = extra
        bonds.up(*sites)
        for host, peer in (("a", "b"), ("b", "a")):
            bonds.wait_eligible(host, peer, links)
        return bonds

    return make


def tcp_bps(lab: Lab, flows: int, seconds: int = SECONDS) -> float:
    """From a to b: what b got, the first second left out, as what fills the queue is in it."""
    with traffic.iperf_server(lab, "b"):
        return traffic.tcp_bps(lab, "a", inner_address("b"), seconds=seconds, flows=flows, options="-O 1")


def over_limit(bonds: Bonds) -> int:
    """Packets that b dropped as they were too many."""
    other = bonds.show("b", "a")["reasons"]
    return int(other["rx_over_limit"])


@pytest.mark.parametrize("links", [1, 2])
def test_a_rate_holds_over_all_links_together(bonded_with: Callable[..., Bonds], links: int) -> None:
    """Over four connections on each."""
    four = {"numConnections": 4}
    bonds = bonded_with(links, {"maxSendKbps": KBPS, **four}, four, IN_LAN)
    assert bonds.peek("a", "b")["connectionsPerPath"] == 4
    assert tcp_bps(bonds.lab, 4) == pytest.approx(BPS, rel=0.03)
    bond = bonds.show("a", "b")
    used = [path["txBytes"] for path in bond["paths"]]
    assert min(used) > 0.05 * sum(used), "over every link"
    rates = bond["rates"]
    assert (rates["send"], rates["sendByPeer"], rates["sendDropped"]) == (KBPS, False, 0)
    assert over_limit(bonds) == 0
    assert "Send Limit (KiB/s)     : 1250;" in bonds.mpbond("a", "bond", "show", "host-b")


def test_the_sender_keeps_to_what_its_peer_wants(bonded_with: Callable[..., Bonds]) -> None:
    bonds = bonded_with(2, {}, {"maxRecvKbps": KBPS}, IN_LAN)
    wait_for("a has heard b's wish", lambda: (bonds.peek("a", "b")["rates"] or {}).get("sendByPeer"))
    assert tcp_bps(bonds.lab, 4) == pytest.approx(BPS, rel=0.03)
    assert over_limit(bonds) == 0
    assert "the peer wants no more" in bonds.mpbond("a", "bond", "show", "host-b")


def test_without_a_handshake_the_receiver_drops_what_is_beyond(bonded_with: Callable[..., Bonds]) -> None:
    bonds = bonded_with(2, {}, {"maxRecvKbps": KBPS}, IN_LAN, shared=True)
    got_bps = tcp_bps(bonds.lab, 4)
    assert 0.5 * BPS < got_bps < 1.03 * BPS
    assert over_limit(bonds) > 0
    assert "has not been told" in bonds.mpbond("b", "bond", "show", "host-a")


def test_local_networks_are_exempt(bonded_with: Callable[..., Bonds]) -> None:
    bonds = bonded_with(2, {"maxSendKbps": KBPS}, {"maxRecvKbps": KBPS}, {})
    assert tcp_bps(bonds.lab, 4, 3) > 3 * BPS
    assert over_limit(bonds) == 0


@pytest.mark.parametrize("base", ["active-backup", "balance-rr", "balance-aware", "broadcast"])
def test_under_every_policy(bonded_with: Callable[..., Bonds], base: str) -> None:
    policy = {**xor(), "basePolicy": base}
    bonds = bonded_with(2, {"maxSendKbps": KBPS}, {}, IN_LAN, policy)
    assert tcp_bps(bonds.lab, 4) == pytest.approx(BPS, rel=0.04)


def test_a_udp_sender_waits_and_loses_nothing(bonded_with: Callable[..., Bonds]) -> None:
    """A socket that sends as fast as it can, four times the rate and more."""
    bonds = bonded_with(2, {"maxSendKbps": KBPS}, {}, IN_LAN)
    with traffic.iperf_server(bonds.lab, "b"):
        options = f"-u -b {4 * BPS} -l 1400"
        data = traffic.iperf(bonds.lab, "a", inner_address("b"), seconds=SECONDS, options=options)
    got = data["end"]["sum_received"]
    assert got["lost_packets"] == 0
    assert got["bits_per_second"] == pytest.approx(BPS, rel=0.03)
    assert bonds.show("a", "b")["rates"]["sendDropped"] == 0


def test_peers_do_not_wait_for_each_other(bonds_on: Callable[[Topology], Bonds]) -> None:
    """What has no rate passes mp0's queue at once: broadcast's packets, which go through it."""
    bonds = bonds_on(two_hosts(1))
    site_a, site_b = pair([link_address(1, 1)], [link_address(1, 2)], "broadcast", settings=IN_LAN)
    bonds.up(site_a, site_b)
    bonds.wait_eligible("a", "b", 1)
    words = ["tc", "qdisc", "add", "dev", "mp0", "root", "handle", "9:", "htb", "default", "0"]
    subprocess.run(bonds.lab.inside("a", words), check=True)
    assert tcp_bps(bonds.lab, 1, 2) > 10 * BPS
