"""Which path: flows that stay, move and return; who takes over; the last resort."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network

import numpy as np
import pytest
from scapy.packet import Packet

from mpbond import abi
from tests.bpf import packets
from tests.bpf.packets import ether, tcp4, tcp6
from tests.bpf.rig import CLOCK_NS, SECOND_NS, Bond, BondSetup, PathSetup, Rig

pytestmark = pytest.mark.root

V4, V6, SPARE = PathSetup(4), PathSetup(6), PathSetup(spare=True)
TWO = BondSetup(paths=(V4, V6))
BACKUP = BondSetup(policy=abi.PolicyCode.ACTIVE_BACKUP, paths=(V4, V6, SPARE))


def send(rig: Rig, bond: Bond, inner: Packet, times: int = 1) -> list[int]:
    """The path number of each of `times` packets."""
    taken = []
    for _ in range(times):
        before = rig.path_packets(bond)
        assert rig.run("tx", ether(inner)).reason == "tx_sent"
        taken.append([now - then for now, then in zip(rig.path_packets(bond), before, strict=True)].index(1))
    return taken


def kill(rig: Rig, bond: Bond, number: int) -> None:
    """Its proofs stop while those of the others go on."""
    rig.plane.paths_live["proof_ns"][bond.paths[number]] = CLOCK_NS - 2 * SECOND_NS


def revive(rig: Rig, bond: Bond, number: int) -> None:
    rig.plane.paths_live["proof_ns"][bond.paths[number]] = CLOCK_NS


def test_flow_stays_when_the_slots_change(rig: Rig) -> None:
    bond = rig.bond(TWO)
    rig.set_slots(bond, bond.paths[:1])
    assert send(rig, bond, tcp4()) == [0]
    rig.set_slots(bond, bond.paths[1:])
    assert send(rig, bond, tcp4(), 3) == [0, 0, 0]
    assert send(rig, bond, tcp4(sport=40001)) == [1]


def test_flow_leaves_a_dead_path_and_does_not_return(rig: Rig) -> None:
    bond = rig.bond(TWO)
    rig.set_slots(bond, bond.paths[:1])
    assert send(rig, bond, tcp4()) == [0]
    kill(rig, bond, 0)
    assert send(rig, bond, tcp4(), 2) == [1, 1]
    revive(rig, bond, 0)
    assert send(rig, bond, tcp4(), 2) == [1, 1]


def test_flow_leaves_a_path_that_the_controller_took_out(rig: Rig) -> None:
    bond = rig.bond(TWO)
    rig.set_slots(bond, bond.paths[:1])
    assert send(rig, bond, tcp4()) == [0]
    rig.plane.set_path_flag(bond.paths[0], abi.PathFlag.ELIGIBLE, False)
    assert send(rig, bond, tcp4()) == [1]


def test_flow_on_a_spare_returns(rig: Rig) -> None:
    bond = rig.bond(BondSetup(paths=(V4, SPARE)))
    kill(rig, bond, 0)
    assert send(rig, bond, tcp4(), 2) == [1, 1]
    revive(rig, bond, 0)
    assert send(rig, bond, tcp4(), 2) == [0, 0]


def test_flow_of_a_path_that_became_another_bonds(rig: Rig) -> None:
    """Its entry outlives the path; the path's number may be given away."""
    bond = rig.bond(TWO)
    other = rig.bond(BondSetup(index=1, allowed=()))
    send(rig, bond, tcp4())
    flows = rig.plane.maps["flows"]
    (key,) = flows.all_keys()
    entry = np.zeros((), abi.FLOW)
    entry["path"] = other.paths[0]
    flows.put(key, entry.tobytes())
    rig.plane.flow_cache[:] = 0
    send(rig, bond, tcp4())
    assert rig.path_packets(other) == [0]


def test_nothing_moves_when_all_proofs_stop_alike(rig: Rig) -> None:
    """A stalled controller: the clock may run on or stand, no path is behind another."""
    bond = rig.bond(TWO)
    before = {sport: send(rig, bond, tcp4(sport))[0] for sport in range(40000, 40020)}
    rig.plane.bonds_live["clock_ns"][0] += 3600 * SECOND_NS
    assert {sport: send(rig, bond, tcp4(sport))[0] for sport in before} == before


def test_proof_newer_than_the_freshest_read_is_no_old_one(rig: Rig) -> None:
    bond = rig.bond(BondSetup(paths=(PathSetup(proof_ms=-5), SPARE)))
    assert send(rig, bond, tcp4()) == [0]


def test_flow_whose_prefix_went_to_another_peer_is_a_new_flow(rig: Rig) -> None:
    first, second = rig.bond(TWO), rig.bond(BondSetup(index=1, paths=(V4, V6), allowed=()))
    send(rig, first, tcp4())
    rig.plane.put_prefix(ip_network("10.1.0.0/16"), second.index)
    send(rig, second, tcp4())
    assert len(rig.plane.maps["flows"].all_keys()) == 2


# ---- flows without ports --------------------------------------------------------------


@pytest.mark.parametrize("inner", [packets.icmp4(), packets.icmp6()], ids=["ICMP", "ICMPv6"])
def test_packets_without_ports_spread(rig: Rig, inner: Packet) -> None:
    """Each at random: of 400 a share outside 120..280 has odds of 10^-15."""
    bond = rig.bond(TWO)
    send(rig, bond, inner, 400)
    assert all(120 < count < 280 for count in rig.path_packets(bond))
    assert not rig.plane.maps["flows"].all_keys()


@pytest.mark.parametrize("piece", [packets.fragment4, packets.fragment6], ids=["IPv4", "IPv6"])
def test_fragments_of_a_datagram_stay_together(rig: Rig, piece: Callable[..., Packet]) -> None:
    bond = rig.bond(TWO)
    first_taken = []
    for ident in range(1, 65):
        pieces = [piece(0, ident), piece(64, ident), piece(128, ident, more=False)]
        taken = [send(rig, bond, one)[0] for one in pieces]
        assert len(set(taken)) == 1, f"datagram {ident} was torn apart"
        first_taken += taken[:1]
    assert 8 < sum(first_taken) < 56, "datagrams spread"


LAYERS = [("extension headers", packets.extended6), ("IPv4 options", packets.options4)]


@pytest.mark.parametrize("made", [made for _, made in LAYERS], ids=[what for what, _ in LAYERS])
def test_ports_are_found_behind(rig: Rig, made: Callable[[int], Packet]) -> None:
    bond = rig.bond(TWO)
    for sport in range(40000, 40032):
        assert len(set(send(rig, bond, made(sport), 3))) == 1
    assert len(rig.plane.maps["flows"].all_keys()) == 32
    assert min(rig.path_packets(bond)) > 12


# ---- who takes over ---------------------------------------------------------------------


def test_a_dead_paths_flows_divide_evenly_and_spare_the_spare(rig: Rig) -> None:
    bond = rig.bond(BondSetup(paths=(V4, V4, V4, V4, SPARE), slots=(0,)))
    kill(rig, bond, 0)
    run = rig.fast("tx", rig.lab.far)
    for sport in range(3000):
        run(ether(tcp4(sport=1000 + sport)))
    shares = rig.path_packets(bond)
    assert (shares[0], shares[4]) == (0, 0)
    assert all(900 < count < 1100 for count in shares[1:4])


def test_take_over_ends_after_twelve(rig: Rig) -> None:
    """The bound that bpf/select.h states: eleven dead paths before a living one."""
    stale = PathSetup(proof_ms=5000)
    backup = abi.PolicyCode.ACTIVE_BACKUP
    bond = rig.bond(BondSetup(policy=backup, paths=(stale,) * 11 + (V4,)))
    assert send(rig, bond, tcp4()) == [11]
    rig.reset()
    bond = rig.bond(BondSetup(policy=backup, paths=(stale,) * 12 + (V4,)))
    assert send(rig, bond, tcp4()) == [0], "the one last alive"


def test_active_backup_uses_the_first_in_order(rig: Rig) -> None:
    bond = rig.bond(BACKUP)
    live = rig.plane.bonds_live[bond.index]
    assert {send(rig, bond, tcp4(sport))[0] for sport in range(40000, 40020)} == {0}
    assert live["active_path"] == bond.paths[0]
    rig.plane.set_order(bond.index, [bond.paths[1], bond.paths[0], bond.paths[2]], 2)
    assert {send(rig, bond, tcp4(sport))[0] for sport in range(40000, 40020)} == {1}
    assert live["active_path"] == bond.paths[1]
    assert not rig.plane.maps["flows"].all_keys()


def test_active_backup_fails_over_in_order(rig: Rig) -> None:
    bond = rig.bond(BACKUP)
    rig.plane.set_order(bond.index, [bond.paths[1], bond.paths[2], bond.paths[0]], 2)
    for dead, expected in ((1, 2), (2, 0)):
        kill(rig, bond, dead)
        assert send(rig, bond, tcp4()) == [expected]
    assert rig.plane.bonds_live["active_path"][bond.index] == bond.paths[0]


# ---- all dead -----------------------------------------------------------------------------

DEAD = BondSetup(paths=(PathSetup(eligible=False),) * 2, failover_ms=1000, down_delay_ms=500)


def silence(rig: Rig, bond: Bond, silent_ns: int, last_alive: int) -> None:
    rig.plane.bonds_live["clock_ns"][bond.index] = CLOCK_NS + silent_ns
    rig.plane.bonds_live["last_alive_path"][bond.index] = last_alive


@pytest.mark.parametrize("inner", [tcp4(), tcp6(), packets.icmp4()], ids=["v4", "v6", "no ports"])
@pytest.mark.parametrize("policy", abi.PolicyCode)
def test_last_alive_path_serves_for_down_delay(rig: Rig, policy: abi.PolicyCode, inner: Packet) -> None:
    bond = rig.bond(BondSetup(policy=policy, paths=DEAD.paths, down_delay_ms=DEAD.down_delay_ms))
    silence(rig, bond, 1_500_000_000, bond.paths[1])
    assert send(rig, bond, inner, 2) == [1, 1]
    silence(rig, bond, 1_500_000_001, bond.paths[1])
    assert rig.run("tx", ether(inner)).reason == "tx_no_path"


def test_no_last_resort_over_a_link_that_is_down(rig: Rig) -> None:
    bond = rig.bond(DEAD)
    rig.plane.set_path_flag(bond.paths[0], abi.PathFlag.LINK_UP, False)
    silence(rig, bond, 0, bond.paths[0])
    assert rig.run("tx", ether(tcp4())).reason == "tx_no_path"


def test_no_last_resort_before_any_proof(rig: Rig) -> None:
    bond = rig.bond(DEAD)
    rig.plane.bonds_live[bond.index] = np.zeros((), abi.BOND_LIVE)
    assert rig.run("tx", ether(tcp4())).reason == "tx_no_path"


def test_no_last_resort_over_another_bonds_path(rig: Rig) -> None:
    bond, other = rig.bond(DEAD), rig.bond(BondSetup(index=1, allowed=()))
    silence(rig, bond, 0, other.paths[0])
    assert rig.run("tx", ether(tcp4())).reason == "tx_no_path"
    assert rig.path_packets(other) == [0]


# ---- shares ---------------------------------------------------------------------------------

# Chi-square's 0.1% points by degrees of freedom; hash seed and ports are fixed,
# so what passes once passes always.
CHI_SQUARE = {1: 10.83, 2: 13.82, 4: 18.47}
STEPS = [("consecutive", 1), ("only even", 2)]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("step", [step for _, step in STEPS], ids=[what for what, _ in STEPS])
def test_sixteen_flows_of_a_client_to_a_server_use_both_paths(rig: Rig, step: int, seed: int) -> None:
    bond = rig.bond(TWO)
    for flow in range(16):
        send(rig, bond, tcp4(sport=32768 + 1000 * seed + step * flow))
    assert min(rig.path_packets(bond)) >= 4


@pytest.mark.parametrize("made", [tcp4, tcp6], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("step", [step for _, step in STEPS], ids=[what for what, _ in STEPS])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_ten_thousand_flows_are_spread_by_chance(
    rig: Rig, count: int, step: int, made: Callable[..., Packet]
) -> None:
    flows = 10_000
    bond = rig.bond(BondSetup(paths=(V4,) * count))
    run = rig.fast("tx", rig.lab.far)
    frame = bytearray(ether(made()))
    at = 14 + (20 if made is tcp4 else 40)
    for flow in range(flows):
        frame[at : at + 2] = (1024 + step * flow).to_bytes(2, "big")
        run(bytes(frame))
    slots = np.array([rig.plane.slots(bond.index).count(path) for path in bond.paths])
    wanted = slots / slots.sum() * flows
    chi_square = ((np.array(rig.path_packets(bond)) - wanted) ** 2 / wanted).sum()
    assert chi_square < CHI_SQUARE[count - 1]
