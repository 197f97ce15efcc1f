"""balance-aware: new flows are placed by turn, so that they divide as the slots do."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from mpbond import abi
from mpbond.weights import fill_slots
from tests.bpf import packets
from tests.bpf.packets import ether, icmp4, tcp4
from tests.bpf.rig import CLOCK_NS, SECOND_NS, Bond, BondSetup, PathSetup, Rig

pytestmark = pytest.mark.root

AWARE = abi.PolicyCode.BALANCE_AWARE
V4, V6, SPARE = PathSetup(4), PathSetup(6), PathSetup(spare=True)
FLOWS = 2000
CAPACITIES = [(1000, 250), (10_000, 1000, 100), (1, 1, 1), (7, 5, 3, 2)]


def aware(rig: Rig, *capacities: int, index: int = 0) -> Bond:
    """A bond as the controller sets it up, its slots by capacity."""
    allowed = BondSetup().allowed if index == 0 else ("10.2.0.0/16",)
    paths = tuple((V4, V6)[number % 2] for number in range(len(capacities)))
    bond = rig.bond(BondSetup(index=index, policy=AWARE, paths=paths, allowed=allowed))
    shares = {path: float(capacity) for path, capacity in zip(bond.paths, capacities, strict=True)}
    rig.plane.set_slots(index, fill_slots([abi.NO_PATH] * abi.SLOTS, shares))
    return bond


class Flows:
    """Single packets of many flows: what tells them apart is written anew."""

    def __init__(self, rig: Rig, bond: Bond, dst: str = packets.SERVER4) -> None:
        self._frame = bytearray(ether(tcp4(dst=dst)))
        self._run, self._path = rig.fast("tx", rig.lab.far), rig.path_taken(bond)

    def take(self, sport: int, client: int = 1) -> int:
        """The path number that a packet of this flow takes."""
        self._frame[29], self._frame[34:36] = client, sport.to_bytes(2, "big")
        self._run(bytes(self._frame))
        return self._path()


def points_off(taken: list[int], capacities: tuple[int, ...]) -> float:
    """By how many percent of all flows the worst path is off its share."""
    counts = Counter(taken)
    shares = [capacity / sum(capacities) for capacity in capacities]
    return max(100 * abs(counts[number] / len(taken) - share) for number, share in enumerate(shares))


def sports(kind: str) -> list[int]:
    numbers = list(range(1024, 1024 + 2 * FLOWS))
    if kind == "at random":
        random.Random(5).shuffle(numbers)
    return numbers[::2] if kind == "only even" else numbers[:FLOWS]


@pytest.mark.parametrize("kind", ["consecutive", "only even", "at random"])
@pytest.mark.parametrize("capacities", CAPACITIES, ids=lambda capacities: ":".join(map(str, capacities)))
def test_two_thousand_flows(rig: Rig, capacities: tuple[int, ...], kind: str) -> None:
    """Half a point is 0.2 for the slots' 1/256 and what 2,000 flows leave of a last round."""
    flows = Flows(rig, aware(rig, *capacities))
    assert points_off([flows.take(sport) for sport in sports(kind)], capacities) < 0.5


@pytest.mark.parametrize("capacities", CAPACITIES[:2], ids=lambda capacities: ":".join(map(str, capacities)))
def test_any_sixty_four_flows_in_a_row(rig: Rig, capacities: tuple[int, ...]) -> None:
    """Turns go over the table evenly: a few flows are nearly as fair as many."""
    flows = Flows(rig, aware(rig, *capacities))
    taken = [flows.take(sport) for sport in range(1024, 1024 + 640)]
    for begin in range(0, len(taken), 64):
        assert points_off(taken[begin : begin + 64], capacities) < 4


def test_256_flows_take_every_slot_once(rig: Rig) -> None:
    bond = aware(rig, 1000, 250)
    flows = Flows(rig, bond)
    counts = Counter(bond.paths[flows.take(sport)] for sport in range(2000, 2000 + abi.SLOTS))
    assert counts == Counter(rig.plane.slots(0))
    assert rig.plane.bonds_live["turn"][0] == abi.SLOTS


@pytest.mark.parametrize("capacities", CAPACITIES[:2], ids=lambda capacities: ":".join(map(str, capacities)))
def test_flows_stay(rig: Rig, capacities: tuple[int, ...]) -> None:
    """And take no turn of others, in whatever order they send; not even if the
    slots change, where so little is known of the paths."""
    bond = aware(rig, *capacities)
    flows = Flows(rig, bond)
    numbers = sports("consecutive")
    placed = {sport: flows.take(sport) for sport in numbers}
    random.Random(6).shuffle(numbers)
    assert {sport: flows.take(sport) for sport in numbers} == placed
    rig.set_slots(bond, bond.paths[:1])
    rig.plane.flow_cache[:] = 0
    assert {sport: flows.take(sport) for sport in numbers} == placed
    assert rig.plane.bonds_live["turn"][0] == FLOWS


def test_flows_of_few_clients_with_the_same_ports(rig: Rig) -> None:
    flows = Flows(rig, aware(rig, 3, 1))
    taken = [flows.take(5000 + number // 250, client=number % 250) for number in range(FLOWS)]
    assert points_off(taken, (3, 1)) < 0.5


def test_bonds_have_turns_of_their_own(rig: Rig) -> None:
    """Flows that begin one here, one there: with one counter each would see every second slot."""
    bonds = aware(rig, 1, 1), aware(rig, 1, 1, index=1)
    both = Flows(rig, bonds[0]), Flows(rig, bonds[1], packets.OTHER4)
    taken = [[flows.take(sport) for flows in both] for sport in range(1024, 1024 + 512)]
    for column in zip(*taken, strict=True):
        assert Counter(column) == {0: 256, 1: 256}
    assert list(rig.plane.bonds_live["turn"][:2]) == [512, 512]


def test_a_flow_that_left_a_dead_path_is_placed_anew(rig: Rig) -> None:
    """Among those that live, where it then stays until it is silent."""
    bond = aware(rig, 1, 1, 1)
    flows = Flows(rig, bond)
    placed = {sport: flows.take(sport) for sport in range(1024, 1024 + 600)}
    rig.plane.paths_live["proof_ns"][bond.paths[1]] = CLOCK_NS - 2 * SECOND_NS
    after = {sport: flows.take(sport) for sport in placed}
    rig.plane.paths_live["proof_ns"][bond.paths[1]] = CLOCK_NS
    assert 1 not in after.values()
    assert all(after[sport] == path for sport, path in placed.items() if path != 1)
    counts = Counter(after[sport] for sport, path in placed.items() if path == 1)
    assert min(counts[0], counts[2]) > 60, counts
    assert {sport: flows.take(sport) for sport in placed} == after


def test_flows_return_from_a_spare_by_turn(rig: Rig) -> None:
    bond = rig.bond(BondSetup(policy=AWARE, paths=(V4, V4, SPARE)))
    flows = Flows(rig, bond)
    for number in (0, 1):
        rig.plane.set_path_flag(bond.paths[number], abi.PathFlag.ELIGIBLE, False)
    assert {flows.take(sport) for sport in range(1024, 1024 + 256)} == {2}
    for number in (0, 1):
        rig.plane.set_path_flag(bond.paths[number], abi.PathFlag.ELIGIBLE, True)
    assert Counter(flows.take(sport) for sport in range(1024, 1024 + 256)) == {0: 128, 1: 128}


def test_packets_without_a_flow_take_no_turn(rig: Rig) -> None:
    """They go at random: of 400 a share outside 60..140 of 1:3 has odds of 10^-5."""
    bond = aware(rig, 1, 3)
    run = rig.fast("tx", rig.lab.far)
    for _ in range(400):
        run(ether(icmp4()))
    assert 55 < rig.path_packets(bond)[0] < 145
    assert rig.plane.bonds_live["turn"][0] == 0


def test_balance_xor_takes_no_turn(rig: Rig) -> None:
    """There the flow's hash says the slot, for both ends of it and after a restart alike."""
    bond = rig.bond(BondSetup(paths=(V4, V6)))
    flows = Flows(rig, bond)
    placed = [flows.take(sport) for sport in range(1024, 1024 + 100)]
    for key in rig.plane.maps["flows"].all_keys():
        rig.plane.maps["flows"].delete(key)
    rig.plane.flow_cache[:] = 0
    assert [flows.take(sport) for sport in reversed(range(1024, 1024 + 100))] == placed[::-1]
    assert rig.plane.bonds_live["turn"][0] == 0
