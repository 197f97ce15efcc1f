"""Connections of a path, packet by packet: which one leaves by which port, and what rx lets in."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from mpbond import abi, wire
from mpbond.controller.prober import KEEP_NS, Prober
from tests.bpf import packets, probes
from tests.bpf.packets import ether, reply4, tcp4, udp4
from tests.bpf.probes import Probe, answer, frame
from tests.bpf.rig import REDIRECT, SECOND_NS, SHOT, UNSPEC, XDP_DROP, Bond, BondSetup, PathSetup, Rig
from tests.bpf.test_probe import ETHERTYPE, tick

pytestmark = pytest.mark.root

FIRST_PORT = 50_000
# In a frame that tx has made, over IPv4 and IPv6.
SOURCE_AT, CONNECTION_AT = {4: 34, 6: 54}, {4: 44, 6: 64}


def port_of(connection: int) -> int:
    return FIRST_PORT + connection if connection else packets.PORT


def with_connections(rig: Rig, count: int, *, metadata: bool = False, setup: BondSetup | None = None) -> Bond:
    """Each path of the bond has so many; is the first the bond's path for metadata?"""
    bond = rig.bond(setup)
    node = rig.plane.node[0]
    node["source_port"] = [port_of(number) for number in range(abi.MAX_CONNECTIONS)]
    node["source_ports"] = abi.MAX_CONNECTIONS
    rig.plane.paths["connections"][bond.paths] = count
    if metadata:
        rig.plane.bonds["metadata_path"][bond.index] = bond.paths[0]
    return bond


def allow(rig: Rig, bond: Bond, count: int) -> None:
    """As the handshake of the session has it; all of the peer's path numbers are known."""
    raw = rig.plane.maps["sessions"].get(bond.pair.rx.number)
    assert raw is not None
    value = np.frombuffer(raw, abi.SESSION)[0].copy()
    value["connections"] = count
    value["local_path"][: len(bond.paths)] = bond.paths
    rig.plane.maps["sessions"].put(bond.pair.rx.number, value.tobytes())


@cache
def frame_of(flow: int) -> bytes:
    return ether(udp4(sport=1024 + flow))


def chosen(rig: Rig, flows: int, family: int = 4) -> list[int]:
    """The connection that a packet of each of so many flows takes."""
    run = rig.fast("tx", rig.lab.far)
    found = []
    for flow in range(flows):
        assert run(frame_of(flow)) == REDIRECT
        found.append(run._out.raw[CONNECTION_AT[family]])
    return found


# ---- going out ------------------------------------------------------------------------


@pytest.mark.parametrize("family", [4, 6], ids=["over v4", "over v6"])
@pytest.mark.parametrize("count", [2, 8, 128])
def test_every_byte(rig: Rig, family: int, count: int) -> None:
    """Port and number are the connection's, all else is as ever."""
    bond = with_connections(rig, count, setup=BondSetup(paths=(PathSetup(family),)))
    taken = set()
    for flow in range(20):
        inner = tcp4(sport=40_000 + flow, tos=0xB9)
        got = rig.run("tx", ether(inner))
        assert (got.verdict, got.reason) == (REDIRECT, "tx_sent")
        connection = got.data[CONNECTION_AT[family]]
        taken.add(connection)
        payload = wire.bond_header(bond.pair.tx.number, 0, connection=connection) + bytes(inner)
        wanted = packets.sent(family, 0, payload, 0xB9, sport=port_of(connection))
        assert got.data[14:].hex() == wanted.hex()
    assert len(taken) > 1 and max(taken) < count


@pytest.mark.parametrize("count", [0, 1])
def test_a_single_one_is_the_nodes_port(rig: Rig, count: int) -> None:
    """It carries data though it is the one for metadata."""
    with_connections(rig, count, metadata=True)
    assert set(chosen(rig, 20)) == {0}


@pytest.mark.parametrize("metadata", [False, True], ids=["data on all", "one for metadata"])
@pytest.mark.parametrize("count", [2, 3, 8, 128])
def test_flows_are_spread_evenly(rig: Rig, count: int, metadata: bool) -> None:
    """Each connection's flows within five standard deviations."""
    with_connections(rig, count, metadata=metadata)
    flows = 6_000
    counts = Counter(chosen(rig, flows))
    numbers = range(1 if metadata else 0, count)
    assert set(counts) <= set(numbers)
    mean = flows / len(numbers)
    assert all(abs(counts[number] - mean) < 5 * mean**0.5 for number in numbers), counts


def test_a_flow_keeps_its_connection(rig: Rig) -> None:
    with_connections(rig, 8)
    assert chosen(rig, 500) == chosen(rig, 500)


@pytest.mark.parametrize("count", [2, 4, 16, 127])
def test_few_flows_move_for_one_connection_more(rig: Rig, count: int) -> None:
    """Those that the new one gets, and those of the one that was last."""
    bond = with_connections(rig, count)
    before = chosen(rig, 3_000)
    rig.plane.paths["connections"][bond.paths] = count + 1
    moved = sum(then != now for then, now in zip(before, chosen(rig, 3_000), strict=True)) / 3_000
    assert moved < 2 / count + 0.05


@pytest.mark.parametrize("count", [2, 4, 16])
def test_only_its_own_flows_leave_the_metadata_connection(rig: Rig, count: int) -> None:
    bond = with_connections(rig, count)
    before = chosen(rig, 1_000)
    rig.plane.bonds["metadata_path"][bond.index] = bond.paths[0]
    after = chosen(rig, 1_000)
    assert 0 in before and 0 not in after
    assert all(then == now for then, now in zip(before, after, strict=True) if then)


def test_the_metadata_connection_of_another_path_is_one_of_data_here(rig: Rig) -> None:
    setup = BondSetup(paths=(PathSetup(), PathSetup()), slots=(1,))
    with_connections(rig, 4, metadata=True, setup=setup)
    assert set(chosen(rig, 200)) == {0, 1, 2, 3}


def test_packets_without_ports_keep_a_connection_too(rig: Rig) -> None:
    with_connections(rig, 8)
    assert len({rig.run("tx", ether(packets.icmp4(n))).data[CONNECTION_AT[4]] for n in range(10)}) == 1


def test_probes_take_turns(rig: Rig) -> None:
    """Every second one is connection 0's, by which the peer knows the path."""
    bond = with_connections(rig, 4)
    numbers = []
    for _ in range(8):
        tick(rig, bond.paths)
        got = rig.lab.receive("isp0")
        taken = probes.parse(got[-probes.MESSAGE_LEN :], bond.pair.tx)
        ethernet = bytes.fromhex(packets.MAC_ROUTER.replace(":", "")) + rig.lab.mac["wan0"] + ETHERTYPE[4]
        message = taken.message(bond.pair.tx)
        wanted = ethernet + packets.sent(4, 0, message, sport=port_of(taken.connection))
        assert got.hex() == wanted.hex()
        numbers.append(taken.connection)
    assert numbers == [0, 1, 0, 2, 0, 3, 0, 1]


@pytest.mark.parametrize(
    ("count", "failover_ms", "times"),
    [(1, 60_000, 1), (2, 60_000, 2), (8, 5_000, 1), (128, 5_000, 16), (128, 100, 1), (20, 60_000, 29)],
)
def test_all_connections_are_probed_before_a_nat_forgets_them(
    rig: Rig, count: int, failover_ms: int, times: int
) -> None:
    bond = with_connections(rig, count)
    prober = Prober(rig.plane)
    prober.set_paths(bond.paths, {bond.index: failover_ms})
    prober.tick(time.monotonic_ns())
    rig.wait_for({"probe_sent": times}, among=["probe_sent"])
    rounds = -(-2 * (count - 1) // times)
    assert rounds * failover_ms * 1_000_000 / 4 <= max(KEEP_NS, failover_ms * 500_000)


# ---- coming in --------------------------------------------------------------------------

HOOKS = [("rx_tc", SHOT), ("rx_xdp", XDP_DROP)]
LET_IN = [
    ("the first needs no agreement", 0, 0, True),
    ("nor with one agreed", 1, 0, True),
    ("a second without agreement", 0, 1, False),
    ("a second with one agreed", 1, 1, False),
    ("the last agreed", 8, 7, True),
    ("the first beyond", 8, 8, False),
    ("the last of 128", 128, 127, True),
    ("128", 128, 128, False),
    ("255", 128, 255, False),
]


@pytest.mark.parametrize(("hook", "dropped"), HOOKS)
@pytest.mark.parametrize(
    ("agreed", "connection", "let_in"), [case[1:] for case in LET_IN], ids=[case[0] for case in LET_IN]
)
def test_data_by_its_number(
    rig: Rig, hook: str, dropped: int, agreed: int, connection: int, let_in: bool
) -> None:
    """Whatever its port: a NAT may have made another of it."""
    bond = rig.bond()
    allow(rig, bond, agreed)
    payload = wire.bond_header(bond.pair.rx.number, 0, connection=connection) + bytes(reply4(8))
    got = rig.run(hook, packets.framed(packets.outer(4, payload, sport=31_337)))
    assert got.reason == ("rx_delivered" if let_in else "rx_surplus_connection")
    assert (got.verdict == dropped) is not let_in
    live = rig.plane.bonds_live[bond.index]
    assert (int(live["surplus"]), bool(live["surplus_ns"])) == (int(not let_in), not let_in)
    assert int(rig.plane.paths_live["failed"][bond.paths[0]]) == 0, "it is not damage"


def test_probe_beyond_what_was_agreed(rig: Rig) -> None:
    """Checked first: a damaged one says nothing of the peer's connections."""
    bond = rig.bond()
    allow(rig, bond, 2)
    good = frame(bond, Probe(connection=2), sport=31_337)
    got = rig.run("rx_tc", good)
    assert (got.verdict, got.reason) == (SHOT, "rx_surplus_connection")
    assert rig.run("rx_tc", good[:-1] + bytes([good[-1] ^ 1])).reason == "rx_bad_mac"
    assert int(rig.plane.bonds_live["surplus"][bond.index]) == 1


def test_probe_of_a_further_connection(rig: Rig) -> None:
    """Counts to the path that its number is known to be, whatever its port, and the
    answer goes back to that port. What is known of the number stays."""
    bond = rig.bond(BondSetup(paths=(PathSetup(), PathSetup())))
    allow(rig, bond, 4)
    got = rig.run("rx_tc", frame(bond, Probe(number=1, connection=3, marks=1 << 30), path=1, sport=31_337))
    assert (got.verdict, got.reason) == (REDIRECT, "rx_probe_answered")
    told = probes.parse(got.data[-probes.MESSAGE_LEN :], bond.pair.tx)
    assert (told.kind, told.number, told.connection) == (wire.TYPE_ANSWER, 1, 3)
    ports = got.data[SOURCE_AT[4] : SOURCE_AT[4] + 4]
    assert ports == packets.PORT.to_bytes(2, "big") + (31_337).to_bytes(2, "big")
    assert int(rig.plane.paths_live["last_in_ns"][bond.paths[1]]) > 0
    raw = rig.plane.maps["sessions"].get(bond.pair.rx.number)
    assert raw is not None
    assert list(np.frombuffer(raw, abi.SESSION)[0]["local_path"][:2]) == bond.paths


def test_probe_of_a_further_connection_teaches_no_path(rig: Rig) -> None:
    bond = with_connections(rig, 4)
    allow(rig, bond, 4)
    assert rig.run("rx_tc", frame(bond, Probe(number=9, connection=3))).reason == "rx_probe_answered"
    assert not any(rig.plane.paths_live["last_in_ns"][path] for path in bond.paths)


ANSWERED = [
    ("to the port of its connection", 3, port_of(3), "rx_answer_taken"),
    ("to the node's port", 0, packets.PORT, "rx_answer_taken"),
    ("to another connection's port", 3, port_of(4), "rx_not_ours"),
    ("of a number that has no port", 5, port_of(5), "rx_not_ours"),
    ("to port 0", 5, 0, "rx_not_ours"),
]


@pytest.mark.parametrize(
    ("connection", "dport", "reason"), [case[1:] for case in ANSWERED], ids=[case[0] for case in ANSWERED]
)
def test_answer_comes_back_to_its_connections_port(
    rig: Rig, connection: int, dport: int, reason: str
) -> None:
    """Our number: what the peer may use has nothing to do with it."""
    bond = with_connections(rig, 5)
    rig.plane.node["source_ports"] = 5
    rig.plane.node["source_port"][0][5:] = 0
    rig.plane.paths_live["answered_mask"][bond.paths[0]] = 0
    got = rig.run("rx_tc", frame(bond, replace(answer(rig), connection=connection), dport=dport))
    assert got.reason == reason


@pytest.mark.parametrize("kind", [wire.TYPE_DATA, wire.TYPE_PROBE])
def test_nothing_else_is_taken_there(rig: Rig, kind: int) -> None:
    bond = with_connections(rig, 5)
    allow(rig, bond, 5)
    payload = Probe(kind=kind, connection=3).message(bond.pair.rx)
    for hook in ("rx_tc", "rx_xdp"):
        got = rig.run(hook, packets.framed(packets.outer(4, payload, dport=port_of(3))))
        assert got.reason == "rx_not_ours" and got.verdict in (UNSPEC, 2)


def test_a_node_with_one_connection_has_no_other_port(rig: Rig) -> None:
    bond = rig.bond()
    rig.plane.node["source_ports"] = 0
    assert rig.run("rx_tc", frame(bond, answer(rig), dport=0)).reason == "rx_not_ours"


@pytest.mark.parametrize(
    ("age_s", "told"), [(None, False), (0, True), (9, True), (11, False)], ids=["never", "now", "9 s", "11 s"]
)
def test_the_peer_is_told_of_what_is_refused(rig: Rig, age_s: int | None, told: bool) -> None:
    bond = rig.bond()
    allow(rig, bond, 1)
    if age_s is not None:
        rig.run("rx_tc", frame(bond, Probe(connection=1)))
        rig.plane.bonds_live["surplus_ns"][bond.index] -= age_s * SECOND_NS
    got = rig.run("rx_tc", frame(bond, Probe()))
    marks = probes.parse(got.data[-probes.MESSAGE_LEN :], bond.pair.tx).marks
    tick(rig, bond.paths)
    probe = probes.parse(rig.lab.receive("isp0")[-probes.MESSAGE_LEN :], bond.pair.tx)
    for said in (marks, probe.marks):
        assert bool(said & abi.PeerMark.SURPLUS) is told
