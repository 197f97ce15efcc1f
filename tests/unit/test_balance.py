"""Closed loops: what the balance makes of links and flows, second by second."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest

from mpbond.balance import Cause
from tests.unit.fluid import TCP, Bond, Link


def most_moves(bond: Bond) -> int:
    return max(len(flow.moves) for flow in bond.flows)


# ---- capacities that nobody has given ---------------------------------------------


def test_sixteen_tcp_flows_find_both_links_and_stay() -> None:
    bond = Bond([Link(100), Link(20)])
    bond.start(16)
    bond.run(5)
    assert bond.estimated_mbit == pytest.approx([100, 20], rel=0.06)
    assert bond.slots_on() == pytest.approx([213, 43], abs=8)
    assert bond.flows_on().tolist() == [13, 3]
    changes = len(bond.tables)
    bond.run(60)
    assert bond.delivered_mbit == pytest.approx(120)
    assert bond.flows_on().tolist() == [13, 3]
    assert most_moves(bond) <= 1
    assert len(bond.tables) == changes


def test_flows_that_all_began_on_one_link_are_spread() -> None:
    bond = Bond([Link(100), Link(20)])
    for slot in [slot for slot, path in enumerate(bond.table) if path == 0][:16]:
        bond.start(1, slot=slot)
    bond.run(1)
    assert bond.delivered_mbit == 100
    bond.run(5)
    assert bond.delivered_mbit == 120


def test_a_link_that_gets_faster_or_slower_is_followed() -> None:
    bond = Bond([Link(100), Link(20)])
    bond.start(16)
    bond.run(10)
    bond.links[1].mbit = 60
    bond.run(3)
    assert bond.estimated_mbit[1] == pytest.approx(60, rel=0.06)
    bond.links[1].mbit = 5
    bond.run(15)
    assert bond.estimated_mbit[1] == pytest.approx(5, rel=0.1)
    assert most_moves(bond) <= 2


def test_a_policed_link_is_found_by_its_losses() -> None:
    bond = Bond([Link(100), Link(20, policed=True)])
    bond.start(16)
    bond.run(10)
    assert bond.estimated_mbit == pytest.approx([100, 20], rel=0.06)
    assert bond.flows_on().tolist() == [13, 3]


def test_an_idle_bond_learns_nothing_and_moves_nothing() -> None:
    bond = Bond([Link(100), Link(20)])
    bond.run(30)
    assert np.isnan(bond.estimated_mbit).all()
    assert len(bond.tables) == 1


def test_device_speeds_are_where_it_starts() -> None:
    assert Bond([Link(90, speed=1000), Link(20, speed=100)]).slots_on() == pytest.approx([233, 23], abs=1)
    assert Bond([Link(90, speed=1000), Link(20)]).slots_on().tolist() == [128, 128], "one is not known"


# ---- what they carry -----------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """`flows`: how many, Mbit/s each; `on`: flows by link in the end; `at_most`: moves
    of any one flow in two minutes."""

    why: str
    links: tuple[Link, ...]
    flows: tuple[int, float]
    on: tuple[int, ...]
    delivered: float
    at_most: int = 1


CASES = [
    Case("with capacities given all is well", (Link(100, 100), Link(20, 20)), (16, TCP), (13, 3), 120, 0),
    Case("both are full, not as was said", (Link(50, 100), Link(50, 20)), (16, TCP), (13, 3), 100, 0),
    Case("one flow is not sent from link to link", (Link(100), Link(20)), (1, TCP), (1, 0), 100, 0),
    Case("a full link keeps one, small as its share may be", (Link(100), Link(20)), (4, TCP), (3, 1), 120),
    Case("what is too much for one link goes to the other", (Link(100), Link(20)), (12, 5), (8, 4), 60),
    Case("nearly all that both can take", (Link(100), Link(20)), (22, 5), (18, 4), 110),
    Case("it was said to carry more than it does", (Link(20, 100), Link(100, 100)), (12, 5), (4, 8), 60),
    Case("too much for both: nothing to gain", (Link(20, 20), Link(20, 20)), (20, 5), (10, 10), 40, 0),
    Case("little traffic is not moved about", (Link(100), Link(100)), (3, 0.2), (2, 1), 0.6, 0),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.why)
def test_flows_are_where_they_should_be(case: Case) -> None:
    bond = Bond(case.links)
    bond.start(*case.flows)
    bond.run(120)
    assert tuple(bond.flows_on()) == case.on
    assert bond.delivered_mbit == pytest.approx(case.delivered)
    assert most_moves(bond) <= case.at_most


def test_bulk_leaves_room_for_steady_flows() -> None:
    """Four of TCP among ten steady ones: both links stay full, and few flows move."""
    bond = Bond([Link(100), Link(20)])
    bond.start(4)
    bond.start(10, 3)
    bond.run(30)
    assert bond.delivered_mbit == 120
    bond.run(120)
    assert bond.delivered_mbit == 120
    assert most_moves(bond) <= 2


# ---- paths that come and go --------------------------------------------------------------


def test_a_new_link_gets_idle_slots_first_and_flows_when_it_has_proved_itself() -> None:
    bond = Bond([Link(100), Link(20), Link(50, carries=False)])
    bond.start(16)
    bond.run(10)
    bond.links[2].carries = True
    bond.run(2)
    assert bond.slots_on()[2] > 50
    assert bond.flows_on()[2] == 0
    bond.run(6)
    assert bond.flows_on()[2] >= 3
    assert bond.delivered_mbit == pytest.approx(170)


def test_a_link_that_comes_back_gets_flows_at_once() -> None:
    bond = Bond([Link(100), Link(20)])
    bond.start(16)
    bond.run(10)
    bond.links[0].carries = False
    bond.run(5)
    assert bond.flows_on().tolist() == [0, 16]
    assert bond.tables[-1].cause is Cause.PATHS
    bond.links[0].carries = True
    bond.run(0.5)
    assert bond.flows_on()[0] >= 8
    bond.run(0.5)
    assert bond.delivered_mbit == 120


def test_flows_of_a_path_that_goes_divide_by_what_the_others_carry() -> None:
    bond = Bond([Link(100, 100), Link(100, 100), Link(20, 20)])
    bond.start(22, 2)
    bond.run(3)
    bond.links[0].carries = False
    bond.run(0.5)
    carried = Counter(flow.link for flow in bond.flows)
    assert carried[1] * 2 == pytest.approx(44 * 100 / 120, abs=2)
    assert carried[2] * 2 == pytest.approx(44 * 20 / 120, abs=2)


def test_with_no_path_left_the_table_stands_for_when_one_is_back() -> None:
    bond = Bond([Link(100), Link(20)])
    before = list(bond.table)
    for link in bond.links:
        link.carries = False
    bond.run(5)
    assert bond.table == before


# ---- quality ----------------------------------------------------------------------------


def test_quality_counts_like_capacity_and_at_once() -> None:
    bond = Bond([Link(100, 100), Link(100, 100)])
    bond.links[1].quality = 0.5
    bond.run(0.25)
    assert bond.slots_on() == pytest.approx([171, 85], abs=1)
    assert bond.tables[-1].cause is Cause.SHARES


def test_a_breath_of_quality_moves_nothing() -> None:
    bond = Bond([Link(100, 100), Link(100, 100)])
    changes = len(bond.tables)
    for step in range(40):
        bond.links[1].quality = 1.0 - 0.05 * (step % 2)
        bond.run(0.25)
    assert len(bond.tables) == changes


def test_shares_that_change_take_idle_slots_and_no_flow() -> None:
    """44 Mbit/s of steady flows on links of 1000: a quality of four fifths is no reason."""
    bond = Bond([Link(1000, 1000), Link(1000, 1000)])
    bond.start(22, 2)
    bond.run(3)
    bond.links[1].quality = 0.8
    bond.run(10)
    assert bond.slots_on() == pytest.approx([142, 114], abs=1)
    assert most_moves(bond) == 0
