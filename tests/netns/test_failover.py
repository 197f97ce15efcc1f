"""Links cut under a 1 ms stream: what is lost, and that what is fine stays."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest

from mpbond.lab import traffic
from mpbond.lab.bonds import Bonds, inner_address
from mpbond.lab.netns import wait_for
from tests.netns.conftest import MakeBonds, active_link, backup, path_on, wait_active, xor

pytestmark = [pytest.mark.root, pytest.mark.netns]

TRIES = 20
LINKS = 5
# failoverInterval -> packets that a 1 ms stream may lose: the interval, a probe
# interval, and what a busy machine adds.
MOST_LOST = {100: 130, 20: 35}
MOST_LOST_CARRIER = 15


def many(failover_ms: int) -> dict[str, Any]:
    """Five links without a favourite: each is cut a few times only, or it would be
    held for flapping for longer and longer."""
    links = {f"eth{number}": {} for number in range(1, LINKS + 1)}
    return backup(failover_ms, links=links, linkSelectMethod="failure")


def cut_repeatedly(bonds: Bonds, do: Callable[[str], int], undo: Callable[[str], int]) -> list[int]:
    """Twenty cuts of the link in use under one stream; packets lost by each."""
    marks: list[int] = []
    with traffic.stream(bonds.lab, "a", "b", inner_address("b")) as stream:
        wait_active(bonds, "eth1", "a")
        for _ in range(TRIES):
            bonds.wait_eligible("a", "b", 2)
            bonds.wait_eligible("b", "a", 2)
            link = active_link(bonds)
            assert link is not None
            marks.append(do(link))
            wait_for(f"{link} left", lambda link=link: active_link(bonds) not in (None, link))
            undo(link)
        report = stream.stop()
    assert report.duplicated == 0
    assert sum(stream.lost_after(marks)) == report.lost, "nothing lost before the first cut"
    return stream.lost_after(marks)


@pytest.mark.parametrize("direction", ["both", "a->b", "b->a"])
@pytest.mark.parametrize("failover_ms", [100, 20])
def test_silent_cut(bonded: MakeBonds, failover_ms: int, direction: str) -> None:
    """The stream runs a to b: a cut of b to a alone must cost it nothing but be
    seen all the same."""
    bonds = bonded(many(failover_ms), links=LINKS)
    lab = bonds.lab
    lost = cut_repeatedly(
        bonds, lambda link: lab.cut(link, direction), lambda link: lab.restore(link, direction)
    )
    print(f"failoverInterval {failover_ms}, cut {direction}: lost {sorted(lost)}")
    assert max(lost) <= MOST_LOST[failover_ms], lost
    if direction == "b->a":
        assert max(lost) == 0, lost


def test_return_to_the_primary_loses_nothing(bonded: MakeBonds) -> None:
    """Under `always`: both links work in the moment of the return."""
    bonds = bonded(backup(100))
    marks: list[int] = []
    with traffic.stream(bonds.lab, "a", "b", inner_address("b")) as stream:
        wait_active(bonds, "eth1")
        for _ in range(4):
            marks.append(bonds.lab.cut("eth1"))
            wait_active(bonds, "eth2")
            marks.append(bonds.lab.restore("eth1"))
            wait_active(bonds, "eth1")
        report = stream.stop()
    lost = stream.lost_after(marks)
    print(f"primary cut and back: lost {lost[::2]}, {lost[1::2]}")
    assert lost[1::2] == [0, 0, 0, 0], report
    assert max(lost) <= MOST_LOST[100], lost


def test_link_set_down(bonded: MakeBonds) -> None:
    """`ip link set down` on the sending host: netlink says so at once."""
    bonds = bonded(many(500), links=LINKS)
    lab = bonds.lab
    lost = cut_repeatedly(
        bonds, lambda link: lab.link_state("a", link, False), lambda link: lab.link_state("a", link, True)
    )
    print(f"link set down: lost {sorted(lost)}")
    assert max(lost) <= MOST_LOST_CARRIER, lost


def test_carrier_loss(bonded: MakeBonds) -> None:
    """The other end of the cable goes: the same."""
    bonds = bonded(many(500), links=LINKS)
    lab = bonds.lab
    lost = cut_repeatedly(
        bonds, lambda link: lab.carrier(link, "a", False), lambda link: lab.carrier(link, "a", True)
    )
    print(f"carrier lost: lost {sorted(lost)}")
    assert max(lost) <= MOST_LOST_CARRIER, lost


@pytest.mark.parametrize("stopped", [("a",), ("b",), ("a", "b")])
def test_stopped_controller_moves_nothing(bonded: MakeBonds, stopped: tuple[str, ...]) -> None:
    """Ten failover intervals without a controller: no packet lost, none moved."""
    bonds = bonded(backup(100))
    with traffic.stream(bonds.lab, "a", "b", inner_address("b")) as stream:
        wait_active(bonds, "eth1")
        before = path_on(bonds.show("a", "b"), "eth2")["txPackets"]
        for host in stopped:
            bonds.signal(host, signal.SIGSTOP)
        # The time itself is what is tested: a second is ten failover intervals.
        signal.sigtimedwait(set(), 1.0)
        for host in stopped:
            bonds.signal(host, signal.SIGCONT)
        signal.sigtimedwait(set(), 0.5)
        report = stream.stop()
    bond = bonds.show("a", "b")
    assert report.lost == 0 and report.reordered == 0, report
    assert path_on(bond, "eth2")["txPackets"] == before, "a packet took the other path"
    assert bond["failoverEvents"] == 0
    assert [path["flaps"] for path in bond["paths"]] == [0, 0], "a stall is no flap"


def test_balance_xor_moves_only_the_dead_paths_flows(bonded: MakeBonds) -> None:
    """Several flows, one path cut: flows of the other path stay, and on return
    nobody moves back."""
    bonds = bonded(xor(100))
    lab = bonds.lab
    ports = range(6001, 6017)

    def used() -> dict[str, int]:
        for port in ports:
            with traffic.stream(
                lab, "a", "b", inner_address("b"), count=3, port=port, source_port=port
            ) as stream:
                assert stream.finish().received > 0
        return {path["ifname"]: path["assignedFlowCount"] for path in bonds.show("a", "b")["paths"]}

    first = used()
    assert set(first.values()) != {0} and sum(first.values()) == len(ports)
    lab.cut("eth1")
    wait_for("eth1 down", lambda: not path_on(bonds.show("a", "b"), "eth1")["alive"])
    assert used() == {"eth1": 0, "eth2": len(ports)}
    lab.restore("eth1")
    wait_for("eth1 up", lambda: path_on(bonds.show("a", "b"), "eth1")["eligible"])
    assert used() == {"eth1": 0, "eth2": len(ports)}
