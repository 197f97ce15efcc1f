"""Bonded labs for the tests: made and removed by each test, checked for leaks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from mpbond.lab.bonds import Bonds, pair
from mpbond.lab.netns import Lab, wait_for
from mpbond.lab.topology import Topology, link_address, two_hosts

MakeBonds = Callable[..., Bonds]


@pytest.fixture
def make_lab() -> Iterator[Callable[[Topology], Lab]]:
    with ExitStack() as stack:
        yield lambda topology: stack.enter_context(Lab(topology))


@pytest.fixture
def bonds_on(make_lab: Callable[[Topology], Lab], tmp_path: Path) -> Callable[[Topology], Bonds]:
    """A lab with nothing on it yet but the means to run `mpbond` on its hosts."""
    return lambda topology: Bonds(make_lab(topology), tmp_path)


@pytest.fixture
def bonded(bonds_on: Callable[[Topology], Bonds]) -> MakeBonds:
    """Hosts a and b, bonded over `links` guarded wires under `policy`, all paths
    eligible at both ends. `version`: the outer family."""

    def make(
        policy: str | dict[str, Any],
        *,
        links: int = 2,
        version: int = 4,
        guarded: bool = True,
        **changes: Any,
    ) -> Bonds:
        bonds = bonds_on(two_hosts(links, guarded=guarded))
        ends = [[link_address(link, end, version) for link in range(1, links + 1)] for end in (1, 2)]
        bonds.up(*pair(ends[0], ends[1], policy, **changes))
        for host, peer in (("a", "b"), ("b", "a")):
            bonds.wait_eligible(host, peer, links)
        return bonds

    return make


def backup(failover_ms: int, **changes: Any) -> dict[str, Any]:
    """active-backup over eth1 (primary) and eth2."""
    return {
        "basePolicy": "active-backup",
        "failoverInterval": failover_ms,
        "links": {"eth1": {"mode": "primary"}, "eth2": {}},
        **changes,
    }


def xor(failover_ms: int = 100) -> dict[str, Any]:
    return {"basePolicy": "balance-xor", "failoverInterval": failover_ms}


def path_on(bond: dict[str, Any], ifname: str) -> dict[str, Any]:
    """The bond's path over a link."""
    found: dict[str, Any] = next(path for path in bond["paths"] if path["ifname"] == ifname)
    return found


def active_link(bonds: Bonds, host: str = "a", peer: str = "b") -> str | None:
    return next((path["ifname"] for path in bonds.peek(host, peer)["paths"] if path["active"]), None)


def wait_active(bonds: Bonds, ifname: str, *hosts: str) -> None:
    for host, peer in (both for both in (("a", "b"), ("b", "a")) if both[0] in (hosts or ("a", "b"))):
        wait_for(f"{ifname} active on {host}", lambda h=host, p=peer: active_link(bonds, h, p) == ifname)
