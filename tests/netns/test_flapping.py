"""Links that come and go: what they cost, and that they are kept out for longer each time."""

from __future__ import annotations

import re
import signal
import time

import pytest

from mpbond.lab import traffic
from mpbond.lab.bonds import NODE_IDS, inner_address
from mpbond.lab.netns import wait_for
from tests.netns.conftest import MakeBonds, active_link, backup, path_on, wait_active

pytestmark = [pytest.mark.root, pytest.mark.netns]

STORM_S = 20.0
TOGGLE_S = 0.2
FAILOVER_MS = 100
# Of a link that works for a little more than 200 ms at a time: the first failure, the
# second (no hold came before it), the third after a hold of 100 ms, the fourth perhaps
# after one of 200 ms; the next hold, 400 ms, is never served.
MOST_FAILOVERS = 4
MOST_LOST_EACH = 130


def test_a_storm_costs_its_first_failures_only(bonded: MakeBonds) -> None:
    """The primary is cut and restored every 200 ms beside a good link, under `always`."""
    bonds = bonded(backup(FAILOVER_MS))
    lab = bonds.lab
    with traffic.stream(lab, "a", "b", inner_address("b")) as stream:
        wait_active(bonds, "eth1")
        end = time.monotonic() + STORM_S
        while time.monotonic() < end:
            for change in (lab.cut, lab.restore):
                change("eth1")
                signal.sigtimedwait(set(), TOGGLE_S)
        held = path_on(bonds.peek("a", "b"), "eth1")
        shown = bonds.mpbond("a", "bond", NODE_IDS["b"], "show")
        report = stream.stop()
    bond = bonds.peek("a", "b")
    print(f"{STORM_S:.0f} s of flapping: lost {report.lost}, runs {report.lost_runs}; {held}")
    assert report.lost <= MOST_FAILOVERS * MOST_LOST_EACH, report
    assert report.longest_loss <= MOST_LOST_EACH, report
    assert 1 <= bond["failoverEvents"] <= MOST_FAILOVERS
    assert active_link(bonds) == "eth2"
    assert (held["state"], held["eligible"]) == ("held", False)
    assert held["flaps"] > 10
    assert 0 < held["heldMs"] <= 60_000
    assert re.search(rf"\(eth1\): held \d+\.\d s more after {held['flaps']} flaps", shown), shown


def test_a_held_path_is_better_than_none(bonded: MakeBonds) -> None:
    """eth1 has flapped and is held for seconds; then eth2, which carries, is cut."""
    bonds = bonded(backup(FAILOVER_MS, linkSelectMethod="failure"))
    lab = bonds.lab
    for _ in range(8):
        lab.cut("eth1")
        wait_for("eth1 down", lambda: not path_on(bonds.peek("a", "b"), "eth1")["alive"])
        lab.restore("eth1")
        wait_for("eth1 alive", lambda: path_on(bonds.peek("a", "b"), "eth1")["alive"])
    assert path_on(bonds.peek("a", "b"), "eth1")["heldMs"] > 2000
    with traffic.stream(lab, "a", "b", inner_address("b")) as stream:
        wait_active(bonds, "eth2", "a")
        mark = lab.cut("eth2")
        wait_for("eth1 let go", lambda: path_on(bonds.peek("a", "b"), "eth1")["eligible"], timeout_s=1.5)
        assert active_link(bonds) == "eth1"
        report = stream.stop()
    print(f"to a held path: lost {stream.lost_after([mark])}")
    assert report.lost <= MOST_LOST_EACH, report


def test_two_failures_in_a_minute_hold_for_failover_interval(bonded: MakeBonds) -> None:
    bonds = bonded(backup(1000))
    lab = bonds.lab
    for flaps in (1, 2):
        lab.link_state("a", "eth1", False)
        wait_active(bonds, "eth2", "a")
        lab.link_state("a", "eth1", True)
        wait_for("eth1 alive", lambda: path_on(bonds.peek("a", "b"), "eth1")["alive"])
        assert path_on(bonds.peek("a", "b"), "eth1")["flaps"] == flaps
    since = time.monotonic()
    wait_active(bonds, "eth1", "a")
    assert 0.5 < time.monotonic() - since < 1.5, "held for failoverInterval"
