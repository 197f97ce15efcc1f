"""Reports between the ends of a bond: heard, honoured, not missed when a link is cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from mpbond.lab.bonds import Bonds, pair, strangers
from mpbond.lab.netns import wait_for
from mpbond.lab.topology import Topology, link_address, two_hosts
from mpbond.sessions import new_key
from tests.netns.conftest import backup, path_on, xor

pytestmark = [pytest.mark.root, pytest.mark.netns]

BondsOn = Callable[[Topology], Bonds]


def up(bonds: Bonds, policy_a: Any, policy_b: Any, *, links: int = 2, shared_key: bool = False) -> Bonds:
    """By public keys, or by a shared key alone."""
    ends = [[link_address(link, end) for link in range(1, links + 1)] for end in (1, 2)]
    how: dict[str, Any] = (
        {"key": new_key().strip()} if shared_key else {"key": "", "privates": strangers("a", "b")}
    )
    site_a, site_b = pair(ends[0], ends[1], policy_a, **how)
    bonds.up(site_a, replace(site_b, policy=policy_b))
    for host, peer in (("a", "b"), ("b", "a")):
        bonds.wait_eligible(host, peer, links)
    return bonds


def heard(bonds: Bonds, host: str) -> dict[str, Any]:
    """The bond of a host that has heard its peer of all paths."""
    peer = "b" if host == "a" else "a"

    def ready() -> dict[str, Any] | None:
        bond = bonds.peek(host, peer)
        known = bond["peerView"] and all(path["peerView"] for path in bond["paths"])
        return bond if known else None

    found: dict[str, Any] = wait_for(f"{host} hears {peer}", ready)
    return found


def test_each_end_shows_the_others_view(bonds_on: BondsOn) -> None:
    """Policy, state, spares, measurements."""
    bonds = up(bonds_on(two_hosts(2)), backup(200), xor(100))

    def seen() -> bool:
        paths = heard(bonds, "a")["paths"] + heard(bonds, "b")["paths"]
        return all(path["peerView"]["peerEligible"] and path["peerView"]["peerLatencyMean"] for path in paths)

    wait_for("both report all paths eligible and measured", seen)
    by_a, by_b = heard(bonds, "a"), heard(bonds, "b")
    assert (by_a["peerView"]["policyBase"], by_b["peerView"]["policyBase"]) == (
        "balance-xor",
        "active-backup",
    )
    assert (by_a["peerView"]["peerFailoverInterval"], by_b["peerView"]["peerFailoverInterval"]) == (100, 200)
    assert by_a["peerView"]["policy"] == by_b["peerView"]["policy"] == "lab"
    for bond in (by_a, by_b):
        assert bond["peerViewMissing"] is None and bond["peerView"]["peerFeatures"] == ["copies", "reports"]
        assert {path["peerView"]["peerState"] for path in bond["paths"]} == {"up"}
    assert path_on(by_b, "eth1")["peerView"]["peerActive"]
    assert not path_on(by_b, "eth2")["peerView"]["peerActive"]
    print(bonds.mpbond("a", "bond", "show", "host-b"))
    print(bonds.mpbond("a", "bond", "events", "host-b"))
