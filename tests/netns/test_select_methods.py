"""linkSelectMethod against the kernel: the table of tests/unit/test_active_backup_stories.py,
as far as it can be seen from outside."""

from __future__ import annotations

import signal

import pytest

from mpbond.lab.bonds import NODE_IDS, Bonds
from mpbond.lab.netns import wait_for
from tests.netns.conftest import MakeBonds, active_link, backup, path_on

pytestmark = [pytest.mark.root, pytest.mark.netns]

# Links of a lab are as good as one another; with all weight on what they have none of
# they are exactly so, and `better` and `optimize` have nothing to prefer.
NO_DIFFERENCE = {"lat_weight": 0.0, "pdv_weight": 0.0, "plr_weight": 0.5, "per_weight": 0.5}
PLAIN = ["eth1", "eth2", "eth3"]
# Longer than two periods of the policies that count them.
TWO_PERIODS_S = 1.3


def made(bonded: MakeBonds, method: str, chained: bool) -> Bonds:
    """eth1 is the primary, eth4 the spare; with failoverTo eth1 is followed by eth3."""
    links: dict[str, object] = {
        "eth1": {"mode": "primary"},
        "eth2": {},
        "eth3": {},
        "eth4": {"mode": "spare"},
    }
    if chained:
        links["eth1"] = {"mode": "primary", "failoverTo": "eth3"}
    policy = backup(100, linkSelectMethod=method, linkQuality=NO_DIFFERENCE, links=links)
    return bonded(policy, links=4)


def left(bonds: Bonds, link: str) -> str:
    """Who has taken over from a link that was cut."""
    now: str = wait_for(
        f"{link} left", lambda: (active_link(bonds) not in (None, link)) and active_link(bonds)
    )
    return now


def wait_eligible(bonds: Bonds, link: str) -> None:
    wait_for(f"{link} eligible", lambda: path_on(bonds.peek("a", "b"), link)["eligible"])


def settled(bonds: Bonds) -> str | None:
    """The active link once the policy had its time to change its mind."""
    signal.sigtimedwait(set(), TWO_PERIODS_S)
    return active_link(bonds)


@pytest.mark.parametrize("chained", [False, True], ids=["plain", "failoverTo"])
@pytest.mark.parametrize("method", ["optimize", "always", "better", "failure"])
def test_a_links_way_through_a_day(bonded: MakeBonds, method: str, chained: bool) -> None:
    bonds = made(bonded, method, chained)
    lab = bonds.lab
    assert settled(bonds) == "eth1"

    lab.cut("eth1")
    second = left(bonds, "eth1")
    assert second == "eth3" if chained else second in ("eth2", "eth3"), "the primary fails"

    lab.restore("eth1")
    wait_eligible(bonds, "eth1")
    third = settled(bonds)
    assert third == ("eth1" if method == "always" else second), "the primary returns, no better"

    lab.cut(third)
    fourth = left(bonds, third)
    assert fourth in set(PLAIN) - {third}, "the active one fails: not to the spare"
    if third != "eth1" and method in ("always", "failure"):
        assert fourth == "eth1"
    lab.restore(third)
    wait_eligible(bonds, third)

    before = settled(bonds)
    assert before is not None
    bonds.mpbond("a", "bond", "rotate", NODE_IDS["b"])
    rotated = PLAIN[(PLAIN.index(before) + 1) % 3]
    assert active_link(bonds) == rotated
    assert settled(bonds) == rotated, "what was rotated to stays"

    for link in PLAIN:
        lab.cut(link)
    wait_for("the spare active", lambda: active_link(bonds) == "eth4")
    lab.restore("eth2")
    wait_for("the spare left", lambda: active_link(bonds) == "eth2")
    assert path_on(bonds.peek("a", "b"), "eth4")["eligible"]
