"""balance-rr: packet by packet, by turn, and what becomes of the turns of a dead path."""

from __future__ import annotations

import socket
from itertools import pairwise

import pytest
from scapy.packet import Packet

from mpbond import abi
from tests.bpf import packets
from tests.bpf.packets import ether, icmp4, tcp4, tcp6
from tests.bpf.rig import CLOCK_NS, SECOND_NS, Bond, BondSetup, PathSetup, Rig

pytestmark = pytest.mark.root

V4, V6, SPARE = PathSetup(4), PathSetup(6), PathSetup(spare=True)
STALE, OUT = PathSetup(proof_ms=5000), PathSetup(eligible=False)
THREE = (V4, V6, V4)
PLAIN = ether(tcp4())
UDP_SEGMENT = 103


def by_turn(rig: Rig, per_link: int, *paths: PathSetup, index: int = 0) -> Bond:
    """A bond as the controller sets it up for balance-rr; the first turn is path 0's."""
    allowed = BondSetup().allowed if index == 0 else ("10.2.0.0/16",)
    policy = abi.PolicyCode.BALANCE_RR
    return rig.bond(
        BondSetup(index=index, policy=policy, paths=paths, packets_per_link=per_link, allowed=allowed)
    )


def taken(rig: Rig, bond: Bond, count: int, frame: bytes = PLAIN) -> list[int]:
    """The path number of each of `count` packets."""
    run, path = rig.fast("tx", rig.lab.far), rig.path_taken(bond)
    numbers = []
    for _ in range(count):
        run(frame)
        numbers.append(path())
    return numbers


def turns(per_link: int, count: int, paths: int = 3) -> list[int]:
    return [packet // per_link % paths for packet in range(count)]


# ---- all alive ---------------------------------------------------------------------------


@pytest.mark.parametrize("per_link", [1, 2, 7, 64, 1000])
def test_so_many_on_each_in_turn(rig: Rig, per_link: int) -> None:
    """Two and a third times round."""
    bond = by_turn(rig, per_link, *THREE)
    assert taken(rig, bond, 7 * per_link) == turns(per_link, 7 * per_link)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_of_any_number_of_paths(rig: Rig, count: int) -> None:
    bond = by_turn(rig, 3, *(V4,) * count)
    assert taken(rig, bond, 40) == turns(3, 40, count)


def test_no_matter_what_flow(rig: Rig) -> None:
    bond = by_turn(rig, 1, *THREE)
    frames = [ether(one) for one in (tcp4(), tcp6(), icmp4(), tcp4(4000), packets.fragment4(64, 9)) * 3]
    assert [taken(rig, bond, 1, frame)[0] for frame in frames] == turns(1, 15)
    assert not rig.plane.maps["flows"].all_keys()
    assert not rig.plane.flow_cache.any()


def test_order_says_whose_turn_is_next(rig: Rig) -> None:
    bond = by_turn(rig, 2, *THREE)
    rig.plane.set_order(0, [bond.paths[2], bond.paths[0], bond.paths[1]], 3)
    assert taken(rig, bond, 7) == [2, 2, 0, 0, 1, 1, 2]


def test_turns_go_on_past_the_counters_32_bits(rig: Rig) -> None:
    bond = by_turn(rig, 1, *THREE)
    rig.plane.bonds_live["turn"][0] = 2**32 - 2
    assert taken(rig, bond, 4) == [(2**32 - 2 + packet) % 3 for packet in range(4)]


def test_each_packet_at_random(rig: Rig) -> None:
    """packetsPerLink 0. Of 64,000 a third is 21,333, its deviation 119: 3% is more than five."""
    bond = by_turn(rig, 0, *THREE)
    run = rig.fast("tx", rig.lab.far)
    for _ in range(64_000):
        run(PLAIN)
    assert all(abs(count - 64_000 / 3) < 0.03 * 64_000 / 3 for count in rig.path_packets(bond))
    assert rig.plane.bonds_live["turn"][0] == 0


def test_random_is_no_turn(rig: Rig) -> None:
    """Every path may follow every other: of 900 pairs each of nine kinds comes 100 times."""
    bond = by_turn(rig, 0, *THREE)
    pairs = list(pairwise(taken(rig, bond, 901)))
    assert all(50 < pairs.count((one, other)) < 150 for one in range(3) for other in range(3))


def test_bonds_have_turns_of_their_own(rig: Rig) -> None:
    first, second = by_turn(rig, 1, *THREE), by_turn(rig, 2, V4, V4, index=1)
    frame = ether(tcp4(dst=packets.OTHER4))
    got = [(taken(rig, first, 1)[0], taken(rig, second, 1, frame)[0]) for _ in range(12)]
    assert got == list(zip(turns(1, 12), turns(2, 12, 2), strict=True))


# ---- some dead -----------------------------------------------------------------------------


@pytest.mark.parametrize("per_link", [1, 7, 64])
@pytest.mark.parametrize("gone", [STALE, OUT], ids=["dead", "ineligible"])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_dead_paths_turns_are_shared_by_the_others(
    rig: Rig, at: int, gone: PathSetup, per_link: int
) -> None:
    """Theirs stay theirs; of its 650 or so each takes half, within five deviations."""
    count = 30 * per_link * (200 // (3 * per_link) or 1)
    bond = by_turn(rig, per_link, *(gone if number == at else V4 for number in range(3)))
    got = taken(rig, bond, count)
    planned = turns(per_link, count)
    assert at not in got
    assert all(now == plan for now, plan in zip(got, planned, strict=True) if plan != at)
    moved = [now for now, plan in zip(got, planned, strict=True) if plan == at]
    first = next(number for number in range(3) if number != at)
    # In one of 81 cases four random tries all hit the dead one, and the first takes it.
    assert abs(moved.count(first) - len(moved) / 2 * (1 + 1 / 81)) < 2.5 * len(moved) ** 0.5


@pytest.mark.parametrize("per_link", [0, 1, 64])
def test_a_path_that_dies_and_comes_back(rig: Rig, per_link: int) -> None:
    bond = by_turn(rig, per_link, *THREE)
    assert set(taken(rig, bond, 300)) == {0, 1, 2}
    rig.plane.paths_live["proof_ns"][bond.paths[1]] = CLOCK_NS - 2 * SECOND_NS
    assert set(taken(rig, bond, 300)) == {0, 2}
    rig.plane.paths_live["proof_ns"][bond.paths[1]] = CLOCK_NS
    assert set(taken(rig, bond, 300)) == {0, 1, 2}


@pytest.mark.parametrize("per_link", [0, 1, 7])
def test_one_left(rig: Rig, per_link: int) -> None:
    bond = by_turn(rig, per_link, STALE, V4, OUT, SPARE)
    assert set(taken(rig, bond, 100)) == {1}


# ---- spares ---------------------------------------------------------------------------------


@pytest.mark.parametrize("per_link", [0, 1, 7])
def test_spares_have_no_turn(rig: Rig, per_link: int) -> None:
    bond = by_turn(rig, per_link, V4, SPARE, V4, SPARE)
    got = taken(rig, bond, 200)
    assert set(got) == {0, 2}
    assert not per_link or got == [(0, 2)[turn] for turn in turns(per_link, 200, 2)]


@pytest.mark.parametrize("per_link", [0, 1, 7])
def test_a_spare_when_nothing_else_is_left(rig: Rig, per_link: int) -> None:
    """The first usable one, as it serves for a moment: then the controller sets a new order."""
    bond = by_turn(rig, per_link, STALE, OUT, PathSetup(spare=True, eligible=False), SPARE, SPARE)
    assert set(taken(rig, bond, 100)) == {3}


@pytest.mark.parametrize("per_link", [1, 7])
def test_a_bond_of_spares_alone_goes_by_turn(rig: Rig, per_link: int) -> None:
    bond = by_turn(rig, per_link, SPARE, SPARE)
    assert taken(rig, bond, 50) == turns(per_link, 50, 2)


@pytest.mark.parametrize("paths", [(), (OUT, OUT)], ids=["no path", "all ineligible"])
@pytest.mark.parametrize("per_link", [0, 1])
def test_none_left(rig: Rig, per_link: int, paths: tuple[PathSetup, ...]) -> None:
    by_turn(rig, per_link, *paths)
    rig.plane.bonds_live["clock_ns"][0] += 2 * SECOND_NS
    assert rig.run("tx", PLAIN).reason == "tx_no_path"


# ---- super-packets ------------------------------------------------------------------------


def taken_whole(rig: Rig, bond: Bond, inner: Packet, segments: list[int]) -> list[int]:
    """The path number of super-packets of so many segments each."""
    path = rig.path_taken(bond)
    numbers = []
    for count in segments:
        assert rig.run("tx", ether(inner), gso_segs=count).reason == "tx_sent"
        numbers.append(path())
    return numbers


def test_a_super_packet_counts_its_segments(rig: Rig) -> None:
    """It goes whole in the turn that it begins in: that of 25 takes the third and more."""
    bond = by_turn(rig, 10, *THREE)
    assert taken_whole(rig, bond, tcp4() / bytes(500), [6, 3, 1, 10, 25, 4, 1, 1]) == [0, 0, 0, 1, 2, 1, 1, 2]
    assert rig.plane.bonds_live["turn"][0] == 51
    assert rig.path_packets(bond) == [10, 15, 26]


def test_super_packets_of_the_stack(rig: Rig) -> None:
    """Real ones, of three segments each: turns of four begin with the 1st, 3rd, 4th, 5th."""
    bond = by_turn(rig, 4, *THREE)
    path, numbers = rig.path_taken(bond), []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1000)
        for count in range(1, 6):
            sender.sendto(b"s" * 2500, (packets.SERVER4, 9))
            rig.wait_for({"tx_sent": count})
            numbers.append(path())
    assert numbers == [0, 0, 1, 2, 0]
    assert rig.path_packets(bond) == [9, 3, 3]


def test_a_packet_that_is_none_counts_one(rig: Rig) -> None:
    bond = by_turn(rig, 10, *THREE)
    assert taken_whole(rig, bond, tcp4(), [0] * 11) == turns(10, 11)
    assert rig.plane.bonds_live["turn"][0] == 11
