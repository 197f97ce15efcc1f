"""redundant: which packets go over two links, which two, and what stays as it was."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrHopByHop
from scapy.layers.sctp import SCTP
from scapy.packet import Packet

from mpbond import abi
from mpbond.config.model import RedundantRule
from mpbond.kernel import device
from tests.bpf import packets
from tests.bpf.copying import check_copies, send, taken_by
from tests.bpf.lab import LINKS
from tests.bpf.packets import (
    CLIENT4,
    CLIENT6,
    SERVER4,
    SERVER6,
    ether,
    extended6,
    fragment4,
    fragment6,
    icmp4,
    options4,
    tcp4,
    tcp6,
)
from tests.bpf.rig import CLOCK_NS, OK, SECOND_NS, Bond, BondSetup, PathSetup, Rig

pytestmark = pytest.mark.root

START = 1000
EF = 46
VOICE = RedundantRule(dscp=EF)
BALANCE = [policy for policy in abi.PolicyCode if policy.name.startswith("BALANCE_")]
AWARE = abi.PolicyCode.BALANCE_AWARE

A, B, C = (PathSetup(link=link) for link in LINKS)
A6 = PathSetup(6)
SPARE = PathSetup(link="wan2", spare=True)


def stale(path: PathSetup) -> PathSetup:
    return replace(path, proof_ms=1001)


def bond_of(rig: Rig, *paths: PathSetup, rules: tuple[RedundantRule, ...] = (VOICE,), **more: object) -> Bond:
    """A bond as the controller sets it up; its next copy is number `START`."""
    setup = BondSetup(policy=AWARE, paths=paths or (A, B), redundant=rules)
    bond = rig.bond(replace(setup, **more))  # type: ignore[arg-type]
    rig.plane.bonds_live["sequence"][bond.index] = START
    return bond


def voice(sport: int = 40000) -> Packet:
    return tcp4(sport, tos=EF << 2)


def udp4(sport: int, dport: int, size: int = 0, tos: int = 0) -> Packet:
    return IP(src=CLIENT4, dst=SERVER4, tos=tos) / UDP(sport=sport, dport=dport) / bytes(size)


def udp6(sport: int, dport: int, size: int = 0, tos: int = 0) -> Packet:
    return IPv6(src=CLIENT6, dst=SERVER6, tc=tos) / UDP(sport=sport, dport=dport) / bytes(size)


# ---- which packets -------------------------------------------------------------------------------


def rule(
    dscp: int | None = None,
    protocol: str | None = None,
    *ports: int | tuple[int, int],
    size: int | None = None,
) -> RedundantRule:
    ranges = tuple(port if isinstance(port, tuple) else (port, port) for port in ports)
    return RedundantRule(dscp, protocol, ranges, size)


ICMP4 = IP(src=CLIENT4, dst=SERVER4) / ICMP()
ICMP6 = packets.icmp6()
HOPS6 = IPv6(src=CLIENT6, dst=SERVER6) / IPv6ExtHdrHopByHop() / UDP(sport=7, dport=53)
SCTP4 = IP(src=CLIENT4, dst=SERVER4) / SCTP(sport=7, dport=53)
GRE4 = IP(src=CLIENT4, dst=SERVER4, proto=47) / bytes(24)

MATCHES = [
    ("DSCP", rule(46), tcp4(tos=46 << 2), True),
    ("DSCP with ECN", rule(46), tcp4(tos=46 << 2 | 3), True),
    ("another DSCP", rule(46), tcp4(tos=45 << 2), False),
    ("DSCP 0", rule(0), tcp4(), True),
    ("DSCP 0, not another", rule(0), tcp4(tos=4), False),
    ("DSCP 63", rule(63), tcp4(tos=0xFF), True),
    ("DSCP over IPv6", rule(46), tcp6(tos=46 << 2), True),
    ("another over IPv6", rule(46), tcp6(tos=47 << 2), False),
    ("TCP", rule(None, "tcp"), tcp4(), True),
    ("TCP over IPv6", rule(None, "tcp"), tcp6(), True),
    ("TCP behind options", rule(None, "tcp"), options4(), True),
    ("TCP behind extension headers", rule(None, "tcp"), extended6(), True),
    ("UDP is not TCP", rule(None, "udp"), tcp4(), False),
    ("UDP over IPv6", rule(None, "udp"), udp6(1, 2), True),
    ("ICMP", rule(None, "icmp"), ICMP4, True),
    ("ICMPv6", rule(None, "icmpv6"), ICMP6, True),
    ("ICMPv6 is not ICMP", rule(None, "icmp"), ICMP6, False),
    ("GRE", rule(None, "gre"), GRE4, True),
    ("SCTP", rule(None, "sctp", 53), SCTP4, True),
    ("source port", rule(None, None, 5060), udp4(5060, 9), True),
    ("destination port", rule(None, None, 5060), udp4(9, 5060), True),
    ("neither", rule(None, None, 5060), udp4(5059, 5061), False),
    ("ports of two bytes each", rule(None, None, 0x1234), udp4(0x3412, 0x3412), False),
    ("range, first", rule(None, None, (5060, 5070)), udp4(9, 5060), True),
    ("range, last", rule(None, None, (5060, 5070)), udp4(5070, 9), True),
    ("range, before", rule(None, None, (5060, 5070)), udp4(5059, 5059), False),
    ("range, after", rule(None, None, (5060, 5070)), udp4(5071, 5071), False),
    ("not from one end's to the other's", rule(None, None, (20, 30)), udp4(10, 40), False),
    ("all ports", rule(None, None, (1, 65535)), udp4(65535, 65535), True),
    ("the eighth range", rule(None, None, 1, 2, 3, 4, 5, 6, 7, (53, 54)), udp6(9, 54), True),
    ("ports over IPv6", rule(None, "udp", 53), udp6(53, 9), True),
    ("ports behind extension headers", rule(None, "udp", 53), HOPS6, True),
    ("ports of another protocol", rule(None, "udp", 443), tcp4(9, 443), False),
    ("ports of any protocol", rule(None, None, 443), tcp4(9, 443), True),
    ("no ports to have", rule(None, None, (1, 65535)), ICMP4, False),
    ("what looks like ports", rule(None, None, (1, 65535)), GRE4, False),
    ("size", rule(size=128), udp4(1, 2, 100), True),
    ("one byte more", rule(size=127), udp4(1, 2, 100), False),
    ("size over IPv6", rule(size=148), udp6(1, 2, 100), True),
    ("one byte more over IPv6", rule(size=147), udp6(1, 2, 100), False),
    ("size with options", rule(size=48), options4(), True),
    ("the smallest size", rule(size=1), ICMP4, False),
    ("any size", rule(46, size=65535), udp4(1, 2, 1400, tos=EF << 2), True),
    ("a fragment has no ports", rule(None, "udp", 9), fragment4(0, 5), False),
    ("nor has one over IPv6", rule(None, "udp", 9), fragment6(0, 5), False),
    ("but its protocol", rule(None, "udp"), fragment4(0, 5), True),
    ("a later one, too", rule(None, "udp"), fragment4(8, 5), True),
    ("over IPv6", rule(None, "udp"), fragment6(0, 5), True),
    ("a later one over IPv6", rule(None, "udp"), fragment6(8, 5), True),
    ("and its DSCP", rule(0), fragment4(8, 5, more=False), True),
    ("all of it", rule(46, "udp", 53, size=200), udp4(53, 9, 9, tos=EF << 2), True),
    ("all but DSCP", rule(46, "udp", 53, size=200), udp4(53, 9, 9), False),
    ("all but protocol", rule(46, "udp", 443, size=200), voice(), False),
    ("all but port", rule(46, "udp", 53, size=200), udp4(54, 9, 9, tos=EF << 2), False),
    ("all but size", rule(46, "udp", 53, size=200), udp4(53, 9, 300, tos=EF << 2), False),
]


@pytest.mark.parametrize(
    ("given", "inner", "twice"), [case[1:] for case in MATCHES], ids=[case[0] for case in MATCHES]
)
def test_which_packets(rig: Rig, given: RedundantRule, inner: Packet, twice: bool) -> None:
    """What is to be sent twice is left to the device; the rest goes at once."""
    bond_of(rig, rules=(given,))
    got = rig.run("tx", ether(inner), ifindex=rig.lab.mp0)
    if twice:
        assert (got.verdict, got.reason, got.data) == (OK, "tx_to_device", ether(inner))
    else:
        assert got.reason == "tx_sent"
    assert rig.plane.bonds_live["sequence"][0] == START, "numbers are for the far end"


def taken_twice(rig: Rig, inner: Packet, **fields: int) -> bool:
    reason = rig.run("tx", ether(inner), ifindex=rig.lab.mp0, **fields).reason
    assert reason in ("tx_to_device", "tx_sent")
    return reason == "tx_to_device"


def test_any_rule_of_eight(rig: Rig) -> None:
    bond_of(rig, rules=tuple(rule(None, None, 1000 + number) for number in range(8)))
    assert [taken_twice(rig, udp4(9, 1000 + number)) for number in range(9)] == [True] * 8 + [False]


def test_rules_beyond_the_count_are_none(rig: Rig) -> None:
    """Whatever stands there."""
    bond_of(rig)
    rig.plane.redundant["rule"][0][1:] = rig.plane.redundant["rule"][0][0]
    rig.plane.redundant["rule"]["tos"][0][1:] = 0
    assert [taken_twice(rig, inner) for inner in (voice(), tcp4())] == [True, False]


def test_ranges_beyond_the_count_are_none(rig: Rig) -> None:
    bond_of(rig, rules=(rule(None, None, 53),))
    rig.plane.redundant["rule"]["high"][0][0][1:] = 65_535
    assert [taken_twice(rig, udp4(9, port)) for port in (53, 9)] == [True, False]


def test_rules_that_change_while_it_runs(rig: Rig) -> None:
    bond = bond_of(rig)

    def put(*rules: RedundantRule) -> None:
        rig.plane.put_bond(0, AWARE, 1000, 0, redundant=rules)

    assert [taken_twice(rig, inner) for inner in (voice(), udp4(9, 53))] == [True, False]
    put(rule(None, None, 53))
    assert [taken_twice(rig, inner) for inner in (voice(), udp4(9, 53))] == [False, True]
    put(VOICE, rule(None, None, 53))
    assert [taken_twice(rig, inner) for inner in (voice(), udp4(9, 53))] == [True, True]
    put()
    assert [taken_twice(rig, inner) for inner in (voice(), udp4(9, 53))] == [False, False]
    put(VOICE)
    send(rig, voice(), 2)
    assert rig.path_packets(bond) != [2, 0], "the links are as before"


def test_bonds_have_rules_of_their_own(rig: Rig) -> None:
    bond_of(rig)
    bond_of(rig, index=1, rules=(rule(None, None, 53),), allowed=("10.2.0.0/16",))
    other = IP(src=CLIENT4, dst=packets.OTHER4, tos=EF << 2) / UDP(sport=9, dport=9)
    assert [taken_twice(rig, inner) for inner in (voice(), other)] == [True, False]
    rig.plane.remove_bond(1)
    assert not any(rig.plane.redundant[1].tobytes())


# ---- super-packets ---------------------------------------------------------------------------------

_SOL_PACKET, _PACKET_VNET_HDR = 263, 15
_NEEDS_CSUM, _TCPV4 = 1, 1


def send_super(rig: Rig, inner: Packet, gso_size: int) -> None:
    """Out of the stack, as TCP over IPv4 hands it to mp0."""
    header = struct.pack("=BBHHHH", _NEEDS_CSUM, _TCPV4, 14 + 20 + 20, gso_size, 14 + 20, 16)
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
        sender.bind(("mp0", 0))
        sender.send(header + ether(inner))


@contextmanager
def cutting() -> Iterator[None]:
    """As the controller has mp0 while a policy has such rules."""
    device.set_cutting("mp0", True)
    try:
        yield
    finally:
        device.set_cutting("mp0", False)


BULK = 3000
SUPERS = [
    ("what it is cut into is small enough", 1000, rule(size=1040), 3),
    ("as a rule asks of it cut, not of the payload alone", 1000, rule(size=1039), 0),
    ("or too large", 1001, rule(size=1000), None),
    ("however large it is itself", 1448, VOICE, 3),
    ("no rule", 1000, rule(None, "udp"), None),
]


@pytest.mark.parametrize(
    ("gso_size", "given", "copied"), [case[1:] for case in SUPERS], ids=[case[0] for case in SUPERS]
)
def test_super_packets(rig: Rig, gso_size: int, given: RedundantRule, copied: int | None) -> None:
    """`copied` of its pieces are, each with a number of its own; None: it stays whole."""
    bond = bond_of(rig, rules=(given,))
    with cutting():
        send_super(rig, voice() / bytes(BULK - len(b"hello over v4")), gso_size)
        pieces = -(-BULK // gso_size)
        if copied is None:
            rig.wait_for({"tx_sent": 1})
            assert len(rig.lab.receive("isp0")) == 14 + 44 + 40 + BULK
        else:
            rig.wait_for({"tx_to_device": 1, "tx_sent": pieces + copied})
            assert sum(rig.path_packets(bond)) == pieces + copied
    assert rig.plane.bonds_live["sequence"][0] == START + (copied or 0)
    if copied:
        for isp in ("isp0", "isp1"):
            frames = [rig.lab.receive(isp) for _ in range(pieces)]
            numbers = [int.from_bytes(frame[46:50], "big") for frame in frames]
            assert numbers == list(range(START, START + pieces))
            assert sum(len(frame) - (14 + 44 + 40) for frame in frames) == BULK


def test_a_super_packet_that_nobody_cut_has_no_copies(rig: Rig) -> None:
    """One number for all its pieces would have all but the first dropped."""
    bond = bond_of(rig)
    send_super(rig, voice() / bytes(BULK), 1448)
    rig.wait_for({"tx_to_device": 1, "tx_sent": 1})
    assert rig.lab.receive("isp0")[43] == 0, "no flag"
    assert rig.path_packets(bond) == [3, 0]
    assert rig.plane.bonds_live["sequence"][0] == START


# ---- over which links ------------------------------------------------------------------------------

SETUPS = [
    ("two links", (A, B), [0, 1]),
    ("the best two of three", (A, B, C), [0, 1]),
    ("IPv6 and IPv4", (A6, B), [0, 1]),
    ("a link's second path is no second link", (A, A6, B), [0, 2]),
    ("the best is dead", (stale(A), B, C), [1, 2]),
    ("the second is dead", (A, stale(B), C), [0, 2]),
    ("the best path of a link is dead", (stale(A), A6, B), [1, 2]),
    ("not eligible", (replace(A, eligible=False), B, C), [1, 2]),
    ("proof exactly failoverInterval old", (A, replace(B, proof_ms=1000), C), [0, 1]),
    ("one is left", (A, stale(B), stale(C)), [0]),
    ("one is left, the last", (stale(A), stale(B), C), [2]),
    ("two paths of one link are left", (A, A6, stale(B)), [0]),
    ("one link", (A,), [0]),
    ("a spare is none of them", (A, B, SPARE), [0, 1]),
    ("not even beside the last", (A, stale(B), SPARE), [0]),
    ("until it is all there is", (stale(A), stale(B), SPARE), [2]),
    ("two spares alone", (SPARE, replace(SPARE, link="wan1")), [0, 1]),
]


@pytest.mark.parametrize(("paths", "used"), [case[1:] for case in SETUPS], ids=[case[0] for case in SETUPS])
def test_over_which_links(rig: Rig, paths: tuple[PathSetup, ...], used: list[int]) -> None:
    bond = bond_of(rig, *paths)
    send(rig, voice(), len(used))
    check_copies(rig, bond, used, voice(), START, EF << 2)
    assert rig.path_packets(bond) == taken_by(bond, used)


def test_best_first_whatever_the_order_of_others(rig: Rig) -> None:
    bond = bond_of(rig, A, B, C)
    rig.plane.set_redundant_paths(0, [bond.paths[2], bond.paths[0], bond.paths[1]])
    send(rig, voice(), 2)
    check_copies(rig, bond, [0, 2], voice(), START, EF << 2)


def test_eight_paths_are_asked(rig: Rig) -> None:
    paths = (*[stale(A)] * 7, B, C)
    bond = bond_of(rig, *paths)
    send(rig, voice(), 1)
    check_copies(rig, bond, [7], voice(), START, EF << 2)


@pytest.mark.parametrize("named", [(), (20,), (0xFFFF,), (19,)], ids=["none", "another's", "no", "unused"])
def test_where_no_path_is_named_someone_takes_over(rig: Rig, named: tuple[int, ...]) -> None:
    """In the order in which paths do; marked as a copy all the same."""
    bond = bond_of(rig, stale(A), B)
    rig.bond(BondSetup(index=1, allowed=()))
    rig.plane.set_redundant_paths(0, named)
    send(rig, voice(), 1)
    check_copies(rig, bond, [1], voice(), START, EF << 2)


def test_all_dead(rig: Rig) -> None:
    """As any packet: the last one alive, then nothing."""
    bond = bond_of(rig, stale(A), stale(B))
    rig.plane.bonds_live["last_alive_path"][0] = bond.paths[1]
    send(rig, voice(), 1)
    check_copies(rig, bond, [1], voice(), START, EF << 2)
    rig.plane.bonds_live["clock_ns"][0] += 2 * SECOND_NS
    rig.lab.inject("mp0", ether(voice()))
    rig.wait_for({"tx_no_path": 1}, among=["tx_no_path"])
    assert rig.lab.nothing_more()


INNERS = [
    ("IPv6", tcp6(tos=EF << 2), EF << 2),
    ("ECN is kept", tcp4(tos=EF << 2 | 1), EF << 2 | 1),
    ("no flow", IP(src=CLIENT4, dst=SERVER4, tos=EF << 2) / ICMP(), EF << 2),
    ("a large one", tcp4(tos=EF << 2) / bytes(9000), EF << 2),
]


@pytest.mark.parametrize(("inner", "tos"), [case[1:] for case in INNERS], ids=[case[0] for case in INNERS])
def test_whatever_is_inside(rig: Rig, inner: Packet, tos: int) -> None:
    bond = bond_of(rig, A, PathSetup(6, link="wan1"))
    send(rig, inner, 2)
    check_copies(rig, bond, [0, 1], inner, START, tos)


# ---- beside other traffic ----------------------------------------------------------------------------


@pytest.mark.parametrize("policy", BALANCE)
def test_under_every_balance_policy(rig: Rig, policy: abi.PolicyCode) -> None:
    """What no rule names goes as ever: on one link, with no number and no flag."""
    bond = bond_of(rig, A, B, C, policy=policy, packets_per_link=64, slots=(2,))
    for number in range(3):
        send(rig, voice(), 2)
        check_copies(rig, bond, [0, 1], voice(), START + number, EF << 2)
        plain = rig.run("tx", ether(tcp4(40001)), ifindex=rig.lab.mp0)
        path = 0 if policy is abi.PolicyCode.BALANCE_RR else 2
        assert plain.data[14:] == packets.tunnelled(4, bond.pair.tx.number, path, bytes(tcp4(40001)), 0)
    assert rig.plane.bonds_live["sequence"][0] == START + 3


def test_through_the_queue_of_a_bond_that_needs_it(rig: Rig) -> None:
    bond = bond_of(rig, A, B, policy=abi.PolicyCode.BALANCE_RR, packets_per_link=1, device=True)
    send(rig, voice(), 2)
    check_copies(rig, bond, [0, 1], voice(), START, EF << 2)
    send(rig, tcp4(), 1)
    assert rig.plane.bonds_live["sequence"][0] == START + 1


def test_copies_are_of_no_flow_and_no_slot(rig: Rig) -> None:
    bond_of(rig)
    send(rig, voice(), 2)
    assert not rig.plane.maps["flows"].all_keys()
    assert not rig.plane.flow_cache.any()
    assert not rig.plane.slot_bytes.any()
    assert rig.plane.bonds_live["turn"][0] == 0


def test_a_flow_whose_small_packets_are_copied_keeps_its_path(rig: Rig) -> None:
    bond = bond_of(rig, A, B, C, rules=(rule(size=100),), slots=(2,))
    for _ in range(2):
        send(rig, tcp4(), 2)
        assert rig.run("tx", ether(tcp4() / bytes(200))).reason == "tx_sent"
    assert rig.path_packets(bond) == [2, 2, 2]
    assert np.count_nonzero(rig.plane.slot_bytes[0]) == 1


def test_numbers_follow_one_another_through_a_death(rig: Rig) -> None:
    bond = bond_of(rig, A, B)
    for number in range(20):
        if number == 10:
            rig.plane.paths_live["proof_ns"][bond.paths[0]] = CLOCK_NS - 2 * SECOND_NS
        used = [0, 1] if number < 10 else [1]
        send(rig, voice(40000 + number), len(used))
        check_copies(rig, bond, used, voice(40000 + number), START + number, EF << 2)


def test_one_copy_that_fails_does_not_take_the_other_along(rig: Rig) -> None:
    bond = bond_of(rig)
    rig.plane.node["far_ifindex"] = 0x7FFFFFFF
    try:
        rig.lab.inject("mp0", ether(voice()))
        rig.wait_for({"tx_to_device": 1, "tx_copy_failed": 1, "tx_sent": 1})
    finally:
        rig.plane.node["far_ifindex"] = rig.lab.far
    check_copies(rig, bond, [1], voice(), START, EF << 2)


@pytest.mark.parametrize("policy", [abi.PolicyCode.ACTIVE_BACKUP, abi.PolicyCode.BALANCE_XOR])
def test_without_rules_nothing_is_asked(rig: Rig, policy: abi.PolicyCode) -> None:
    rig.bond(BondSetup(policy=policy, paths=(A, B)))
    rig.plane.redundant["rule_count"][0] = 8
    rig.plane.redundant["rule"]["max_size"][0] = 65_535
    for inner in (voice(), tcp4(), icmp4()):
        assert not taken_twice(rig, inner)
