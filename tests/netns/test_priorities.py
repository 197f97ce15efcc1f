"""Local paths before those through a router, and back: by what traffic does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mpbond.lab import traffic
from mpbond.lab.bonds import Bonds, inner_address, pair
from mpbond.lab.netns import wait_for
from mpbond.lab.topology import Topology, link_address, routed_address, routed_hosts, two_hosts
from tests.netns.conftest import path_on, xor

pytestmark = [pytest.mark.root, pytest.mark.netns]


def near_and_far() -> Topology:
    """a and b, next to each other on eth1 and through a router on eth2."""
    far = routed_hosts(2)
    hosts = tuple(host for host in far.hosts if host.name != "r1")
    kept = tuple(wire for wire in far.wires if wire.name in ("a2", "b2"))
    return Topology(
        tuple(_by_eth2(host) if host.name in ("a", "b") else host for host in hosts),
        (*two_hosts(1).wires, *kept),
    )


def _by_eth2(host: Any) -> Any:
    routes = tuple(route for route in host.routes if route[2] == "eth2")
    return type(host)(host.name, routes, host.forward)


@pytest.fixture
def bonded_with(bonds_on: Callable[[Topology], Bonds]) -> Callable[..., Bonds]:
    def make(policy: Any, **settings: Any) -> Bonds:
        bonds = bonds_on(near_and_far())
        ends = [
            [
                {"address": link_address(1, end), "link": "eth1"},
                {"address": routed_address(2, end), "link": "eth2"},
            ]
            for end in (1, 2)
        ]
        bonds.up(*pair(ends[0], ends[1], policy, settings=settings))
        for host, peer in (("a", "b"), ("b", "a")):
            bonds.wait_eligible(host, peer, 2)
        return bonds

    return make


def sent(bonds: Bonds, ifname: str) -> int:
    packets: int = path_on(bonds.peek("a", "b"), ifname)["txPackets"]
    return packets


def carries(bonds: Bonds, ifname: str) -> None:
    """Waits until it has carried 200 packets more."""
    before = sent(bonds, ifname)
    wait_for(f"200 packets on {ifname}", lambda: sent(bonds, ifname) > before + 200)


@pytest.mark.parametrize("base", ["active-backup", "balance-rr", "balance-xor", "balance-aware"])
def test_the_far_path_is_a_spare_of_the_near_one(bonded_with: Callable[..., Bonds], base: str) -> None:
    bonds = bonded_with({**xor(), "basePolicy": base})
    shown = {
        path["ifname"]: (path["network"], path["priority"], path["farther"])
        for path in bonds.peek("a", "b")["paths"]
    }
    assert shown == {"eth1": ("lan", 10, False), "eth2": ("wan", 30, True)}
    assert "spare (far)" in bonds.mpbond("a", "bond", "show", "host-b")
    with traffic.stream(bonds.lab, "a", "b", inner_address("b")) as stream:
        before = sent(bonds, "eth2")
        carries(bonds, "eth1")
        assert sent(bonds, "eth2") == before
        bonds.lab.cut("eth1")
        carries(bonds, "eth2")
        assert not path_on(bonds.peek("a", "b"), "eth2")["farther"]
        bonds.lab.restore("eth1")
        wait_for("the far path is a spare again", lambda: path_on(bonds.peek("a", "b"), "eth2")["farther"])
        carries(bonds, "eth1")
        before = sent(bonds, "eth2")
        carries(bonds, "eth1")
        assert sent(bonds, "eth2") == before
        report = stream.stop()
    assert report.duplicated == 0


@pytest.mark.parametrize(
    ("why", "policy", "settings"),
    [
        ("its network is local by the file", xor(), {"alwaysLocalNets": ["10.78.0.0/16"]}),
        ("the difference is within the threshold", xor(), {"connectionPriorityUpgradeThreshold": 20}),
        ("the policy lists its links", {**xor(), "links": {"eth1": {}, "eth2": {}}}, {}),
    ],
)
def test_both_are_used_where(
    bonded_with: Callable[..., Bonds], why: str, policy: Any, settings: dict[str, Any]
) -> None:
    bonds = bonded_with(policy, **settings)
    assert [path["active"] for path in bonds.peek("a", "b")["paths"]] == [True, True]
