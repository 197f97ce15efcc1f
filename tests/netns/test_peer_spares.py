"""What one end calls a spare is one at both: seen in listings, and by what traffic does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from mpbond import abi
from mpbond.lab import traffic
from mpbond.lab.bonds import Bonds, inner_address, pair
from mpbond.lab.netns import wait_for
from mpbond.lab.topology import Topology, link_address, two_hosts
from tests.netns.conftest import active_link, path_on, wait_active, xor

pytestmark = [pytest.mark.root, pytest.mark.netns]

# a pays for eth2 by volume; b knows nothing of that.
A_POLICY = {
    "basePolicy": "active-backup",
    "failoverInterval": 100,
    "links": {"eth1": {}, "eth2": {"mode": "spare"}},
}


@pytest.fixture
def with_b_under(bonds_on: Callable[[Topology], Bonds]) -> Callable[[str | dict[str, Any]], Bonds]:
    def make(policy: str | dict[str, Any]) -> Bonds:
        bonds = bonds_on(two_hosts(2))
        ends = [[link_address(link, end) for link in (1, 2)] for end in (1, 2)]
        site_a, site_b = pair(ends[0], ends[1], A_POLICY)
        bonds.up(site_a, replace(site_b, policy=policy))
        for host, peer in (("a", "b"), ("b", "a")):
            bonds.wait_eligible(host, peer, 2)
        return bonds

    return make


def sent(bonds: Bonds, ifname: str) -> int:
    packets: int = path_on(bonds.peek("b", "a"), ifname)["txPackets"]
    return packets


# A flow leaves a path by itself only where the kernel is told that it is a spare.
_needs_flag = pytest.mark.xfail(
    not hasattr(abi.PathFlag, "PEER_SPARE"), reason="the kernel has no flag for the peer's spares"
)


@pytest.mark.parametrize(
    "base",
    [
        "active-backup",
        "balance-rr",
        pytest.param("balance-xor", marks=_needs_flag),
        pytest.param("balance-aware", marks=_needs_flag),
    ],
)
def test_the_peers_spare_is_kept_off(with_b_under: Callable[[Any], Bonds], base: str) -> None:
    """From b: nothing over eth2 while eth1 works; all of it when eth1 does not; none
    again when it is back."""
    bonds = with_b_under({**xor(100), "basePolicy": base})
    lab = bonds.lab
    wait_for("b hears a", lambda: path_on(bonds.peek("b", "a"), "eth2")["peerSpare"])
    bond = bonds.peek("b", "a")
    assert (bond["peerPolicy"], path_on(bond, "eth1")["peerSpare"]) == ("active-backup", False)
    assert bonds.peek("a", "b")["peerPolicy"] == base
    assert "spare (peer)" in bonds.mpbond("b", "bond", "show", "host-a")
    before = sent(bonds, "eth2")
    with traffic.stream(lab, "b", "a", inner_address("a")) as stream:
        start = sent(bonds, "eth1")
        wait_for("200 packets on eth1", lambda: sent(bonds, "eth1") > start + 200)
        assert sent(bonds, "eth2") == before, "the spare is left alone"
        lab.cut("eth1")
        wait_for("200 packets on eth2", lambda: sent(bonds, "eth2") > before + 200)
        lab.restore("eth1")
        wait_for("eth1 eligible", lambda: path_on(bonds.peek("b", "a"), "eth1")["eligible"])
        back = sent(bonds, "eth1")
        wait_for("200 packets on eth1 again", lambda: sent(bonds, "eth1") > back + 200)
        after = sent(bonds, "eth2")
        back = sent(bonds, "eth1")
        wait_for("200 packets more", lambda: sent(bonds, "eth1") > back + 200)
        assert sent(bonds, "eth2") == after
        stream.stop()


def test_broadcast_uses_what_the_peer_calls_a_spare(with_b_under: Callable[[Any], Bonds]) -> None:
    bonds = with_b_under({"basePolicy": "broadcast", "failoverInterval": 100})
    wait_for("b hears a", lambda: path_on(bonds.peek("b", "a"), "eth2")["peerSpare"])
    before = sent(bonds, "eth2")
    with traffic.stream(bonds.lab, "b", "a", inner_address("a")) as stream:
        wait_for("packets on eth2", lambda: sent(bonds, "eth2") > before + 100)
        report = stream.stop()
    assert (report.lost, report.duplicated) == (0, 0)


def test_a_peer_that_takes_its_word_back(with_b_under: Callable[[Any], Bonds]) -> None:
    """`bond set` at a: b follows, without having been asked."""
    bonds = with_b_under("balance-xor")
    wait_for("b hears a", lambda: path_on(bonds.peek("b", "a"), "eth2")["peerSpare"])
    assert not path_on(bonds.peek("b", "a"), "eth2")["active"]
    bonds.mpbond("a", "bond", "set", "host-b", "balance-xor")
    wait_for("b uses eth2", lambda: path_on(bonds.peek("b", "a"), "eth2")["active"])
    assert bonds.peek("b", "a")["peerPolicy"] == "balance-xor"
    bonds.mpbond("a", "bond", "set", "host-b", "lab")
    wait_for("b leaves eth2", lambda: not path_on(bonds.peek("b", "a"), "eth2")["active"])


def test_where_each_end_spares_the_others_link_both_go_by_their_own(
    with_b_under: Callable[[Any], Bonds],
) -> None:
    bonds = with_b_under({**A_POLICY, "links": {"eth1": {"mode": "spare"}, "eth2": {}}})
    for host, peer, link in (("a", "b", "eth1"), ("b", "a", "eth2")):
        wait_for(
            f"{host} hears {peer}", lambda h=host, p=peer, n=link: path_on(bonds.peek(h, p), n)["peerSpare"]
        )
    wait_active(bonds, "eth1", "a")
    wait_active(bonds, "eth2", "b")
    assert active_link(bonds) == "eth1"
    assert traffic.ping(bonds.lab, "a", inner_address("b"))
