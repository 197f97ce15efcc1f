"""Where a flow's path is kept: the map, which is the truth, and the cache in front of it."""

from __future__ import annotations

import time

import numpy as np
import pytest

from mpbond import abi
from tests.bpf.flows import HIGH, Flow, begin, seen_now, slots_to, within_a_second
from tests.bpf.packets import ether, icmp4, tcp4, tcp6
from tests.bpf.rig import CLOCK_NS, SECOND_NS, Bond, BondSetup, PathSetup, Rig

pytestmark = pytest.mark.root

TWO = BondSetup(paths=(PathSetup(4), PathSetup(6)))


@within_a_second
def test_what_is_kept(rig: Rig) -> None:
    bond = rig.bond(TWO)
    flow = begin(rig, bond, path=1)
    assert flow.entry() == (bond.paths[1], seen_now())
    assert flow.word == flow.made_word(bond.paths[1], seen_now())
    assert np.flatnonzero(rig.plane.flow_cache).tolist() == [flow.at]


def test_cache_is_no_smaller_than_the_map(rig: Rig) -> None:
    size = len(rig.plane.flow_cache)
    assert size >= rig.plane.maps["flows"].max_entries
    assert size & (size - 1) == 0


@within_a_second
def test_within_a_second_the_cache_alone_is_asked(rig: Rig) -> None:
    """The map is not looked up, not touched: that is the cache's whole point."""
    bond = rig.bond(TWO)
    flow = begin(rig, bond)
    flow.put(bond.paths[1], 12345)
    assert [flow.take() for _ in range(3)] == [0, 0, 0]
    assert flow.entry() == (bond.paths[1], 12345)


@pytest.mark.parametrize(
    "word", [0, 0xDEADBEEF_0000_0001, 2**64 - 1], ids=["nothing", "another flow", "all ones"]
)
def test_flow_that_lost_its_word_is_found_in_the_map(rig: Rig, word: int) -> None:
    """And takes its word back."""
    bond = rig.bond(TWO)
    flow = begin(rig, bond)
    slots_to(rig, bond, 1)
    flow.word = word
    assert flow.take() == 0
    assert flow.word in (flow.made_word(bond.paths[0], seen_now() - late) for late in (0, 1))


@within_a_second
def test_flow_that_the_map_lost_is_found_in_the_cache(rig: Rig) -> None:
    bond = rig.bond(TWO)
    flow = begin(rig, bond)
    slots_to(rig, bond, 1)
    flow.evict()
    assert [flow.take() for _ in range(3)] == [0, 0, 0]


def test_flow_that_both_lost_is_new(rig: Rig) -> None:
    bond = rig.bond(TWO)
    flow = begin(rig, bond)
    slots_to(rig, bond, 1)
    flow.evict()
    flow.word = 0
    assert flow.take() == 1
    entry = flow.entry()
    assert entry is not None
    assert entry[0] == bond.paths[1]


@pytest.mark.parametrize("ago", [1, 2, 600, 40_000], ids=lambda ago: f"{ago} s ago")
def test_next_second_touches_the_map(rig: Rig, ago: int) -> None:
    """Which is what keeps a flow of the cache in the map."""
    bond = rig.bond(TWO)
    flow = begin(rig, bond)
    slots_to(rig, bond, 1)
    before = seen_now()
    flow.put(bond.paths[0], (before - ago) % 2**32)
    flow.word = flow.made_word(bond.paths[0], before - ago)
    assert flow.take() == 0
    entry = flow.entry()
    assert entry is not None
    assert entry[0] == bond.paths[0]
    assert before <= entry[1] <= seen_now()
    assert flow.word == flow.made_word(bond.paths[0], entry[1])


def test_a_real_second_later(rig: Rig) -> None:
    """Nothing poked: the clock goes on and the entry with it."""
    bond = rig.bond(TWO)
    flow = begin(rig, bond)
    slots_to(rig, bond, 1)
    first = flow.entry()
    assert first is not None
    while seen_now() == first[1]:
        time.sleep(0.05)
    assert flow.take() == 0
    second = flow.entry()
    assert second is not None
    assert second[1] > first[1]


def test_an_old_word_does_not_overrule_the_map(rig: Rig) -> None:
    """Of another second: written by another CPU meanwhile, or left from hours ago."""
    bond = rig.bond(TWO)
    flow = begin(rig, bond)
    flow.put(bond.paths[1], seen_now())
    flow.word = flow.made_word(bond.paths[0], seen_now() - 3)
    assert flow.take() == 1
    assert flow.word & 0xFFFF == bond.paths[1]


def test_a_flow_that_moves_does_so_in_both(rig: Rig) -> None:
    bond = rig.bond(TWO)
    flow = begin(rig, bond)
    rig.plane.paths_live["proof_ns"][bond.paths[0]] = CLOCK_NS - 2 * SECOND_NS
    assert flow.take() == 1
    entry = flow.entry()
    assert entry is not None
    assert (entry[0], flow.word & 0xFFFF) == (bond.paths[1], bond.paths[1])
    rig.plane.paths_live["proof_ns"][bond.paths[0]] = CLOCK_NS
    assert flow.take() == 1


def test_a_cached_path_that_is_another_bonds_now(rig: Rig) -> None:
    bond, other = rig.bond(TWO), rig.bond(BondSetup(index=1, allowed=()))
    flow = begin(rig, bond)
    for late in (0, 1):
        flow.word = flow.made_word(other.paths[0], seen_now() + late)
        assert flow.take() == 0
    assert rig.path_packets(other) == [0]


# ---- two flows, one word ---------------------------------------------------------------------


def two_of_one_word(rig: Rig, bond: Bond) -> tuple[Flow, Flow]:
    """Flows whose hashes agree in what finds the word and in nothing else: the first on
    path 0, the second on path 1. Of 1,000 flows there are some, as of birthdays."""
    by_place: dict[int, Flow] = {}
    for sport in range(1024, 5024):
        flow = begin(rig, bond, sport)
        mate = by_place.setdefault(flow.at, flow)
        flow.evict()
        if mate is not flow:
            rig.plane.flow_cache[:] = 0
            return begin(rig, bond, mate.sport, 0), begin(rig, bond, sport, 1)
    raise AssertionError("no two flows share a word")


def test_two_flows_of_one_word(rig: Rig) -> None:
    """They push each other out, packet by packet, and each keeps its path."""
    bond = rig.bond(TWO)
    first, second = two_of_one_word(rig, bond)
    assert first.at == second.at
    assert first.hash & HIGH != second.hash & HIGH
    assert [flow.take() for flow in (first, second) * 5] == [0, 1] * 5
    assert first.word >> 32 == second.hash >> 32


def test_another_flows_word_says_nothing(rig: Rig) -> None:
    """Not even to a flow that is new."""
    bond = rig.bond(TWO)
    first, second = two_of_one_word(rig, bond)
    second.evict()
    slots_to(rig, bond, 1)
    assert first.take() == 0
    assert second.take() == 1


@within_a_second
def test_every_bit_of_tag_and_second_counts(rig: Rig) -> None:
    """A word that is off by one of them is not this flow's of this second."""
    bond = rig.bond(TWO)
    flow = begin(rig, bond, path=1)
    right = flow.made_word(bond.paths[0], seen_now())
    flow.word = right
    assert flow.take() == 0
    for bit in range(16, 64):
        flow.word = right ^ 1 << bit
        flow.put(bond.paths[1], seen_now())
        assert flow.take() == 1, f"bit {bit}"


# ---- who is not kept --------------------------------------------------------------------------

NOT_KEPT = [policy for policy in abi.PolicyCode if not policy.name.startswith("BALANCE_")]


@pytest.mark.parametrize("policy", [*NOT_KEPT, abi.PolicyCode.BALANCE_RR])
def test_policies_without_flows_leave_no_trace(rig: Rig, policy: abi.PolicyCode) -> None:
    rig.bond(BondSetup(policy=policy, paths=(PathSetup(4),)))
    for inner in (tcp4(), tcp6()):
        assert rig.run("tx", ether(inner)).reason == "tx_sent"
    assert not rig.plane.flow_cache.any()
    assert not rig.plane.maps["flows"].all_keys()


@pytest.mark.parametrize("policy", [abi.PolicyCode.BALANCE_XOR, abi.PolicyCode.BALANCE_AWARE])
def test_packets_without_a_flow_leave_no_trace(rig: Rig, policy: abi.PolicyCode) -> None:
    rig.bond(BondSetup(policy=policy, paths=(PathSetup(4), PathSetup(6))))
    for _ in range(20):
        assert rig.run("tx", ether(icmp4())).reason == "tx_sent"
    assert not rig.plane.flow_cache.any()


def test_a_flow_that_found_no_path_leaves_no_trace(rig: Rig) -> None:
    rig.bond(BondSetup(paths=(PathSetup(eligible=False, link_up=False),)))
    assert rig.run("tx", ether(tcp4())).reason == "tx_no_path"
    assert not rig.plane.flow_cache.any()
    assert not rig.plane.maps["flows"].all_keys()
