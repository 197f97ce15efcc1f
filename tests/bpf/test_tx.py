"""tx, packet by packet: which reason, which path, and every byte that leaves."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from scapy.layers.inet import IP
from scapy.packet import Packet

from tests.bpf import packets
from tests.bpf.packets import ether, tcp4, tcp6
from tests.bpf.rig import OK, REDIRECT, SHOT, Bond, BondSetup, PathSetup, Rig

pytestmark = pytest.mark.root

V4, V6 = PathSetup(4), PathSetup(6)
SPARE = PathSetup(spare=True)
STALE = PathSetup(proof_ms=1001)
OUT = PathSetup(eligible=False)
ONE_V4, ONE_V6 = BondSetup(paths=(V4,)), BondSetup(paths=(V6,))


def paths(*setups: PathSetup) -> BondSetup:
    return BondSetup(paths=setups)


@dataclass(frozen=True)
class Sent:
    """`path`: number of the one path that it must leave by."""

    what: str
    inner: Packet
    setup: BondSetup = field(default_factory=BondSetup)
    tos: int = 0
    path: int = 0


SENT = [
    Sent("v4 in v4", tcp4(), ONE_V4),
    Sent("v4 in v6", tcp4(), ONE_V6),
    Sent("v6 in v4", tcp6(), ONE_V4),
    Sent("v6 in v6", tcp6(), ONE_V6),
    Sent("TOS, v4 in v4", tcp4(tos=0xB9), ONE_V4, tos=0xB9),
    Sent("TOS, v4 in v6", tcp4(tos=0xB9), ONE_V6, tos=0xB9),
    Sent("traffic class, v6 in v4", tcp6(tos=0x5A), ONE_V4, tos=0x5A),
    Sent("traffic class, v6 in v6", tcp6(tos=0x5A), ONE_V6, tos=0x5A),
    Sent("TOS 0xff: the checksum carries", tcp4(tos=0xFF), ONE_V4, tos=0xFF),
    Sent("nothing but an IPv4 header", IP(src=packets.CLIENT4, dst=packets.SERVER4, proto=59), ONE_V6),
    Sent("odd length", tcp4() / b"o", ONE_V4),
    Sent("a whole Ethernet frame's worth", tcp4() / (b"x" * 1443), ONE_V6),
    Sent("as much as a test run takes", tcp4() / (b"x" * 3000), ONE_V4),
    Sent("no transport known", packets.icmp6(), ONE_V4),
    Sent("the second of two paths is the only one", tcp4(), paths(OUT, V6), path=1),
    Sent("stale proof: the other path", tcp4(), paths(STALE, V4), path=1),
    Sent("proof exactly failoverInterval old", tcp4(), paths(PathSetup(proof_ms=1000), SPARE)),
    Sent("never proven", tcp4(), paths(PathSetup(proof_ms=10**9), V6), path=1),
    Sent("spare unused while another lives", tcp4(), paths(SPARE, V4), path=1),
    Sent("spare if all others are stale", tcp4(), paths(STALE, STALE, SPARE), path=2),
    Sent("spare if all others are ineligible", tcp4(), paths(OUT, OUT, SPARE), path=2),
    Sent("a bond of spares", tcp4(), paths(SPARE)),
]


def expected(bond: Bond, case: Sent, frame: bytes) -> bytes:
    family = bond.setup.paths[case.path].family
    number = bond.pair.tx.number
    return frame[:14] + packets.tunnelled(family, number, case.path, bytes(case.inner), case.tos)


@pytest.mark.parametrize("case", SENT, ids=lambda case: case.what)
def test_sent(rig: Rig, case: Sent) -> None:
    bond = rig.bond(case.setup)
    frame = ether(case.inner)
    got = rig.run("tx", frame)
    assert (got.verdict, got.reason) == (REDIRECT, "tx_sent")
    assert got.data.hex() == expected(bond, case, frame).hex()
    assert rig.path_packets(bond) == [int(n == case.path) for n in range(len(bond.paths))]
    assert int(rig.plane.path_stats["tx_bytes"][bond.paths[case.path]].sum()) == len(bytes(case.inner))


def with_byte(frame: bytes, at: int, value: int) -> bytes:
    return frame[:at] + bytes([value]) + frame[at + 1 :]


@dataclass(frozen=True)
class Ended:
    """A packet that must not be sent: dropped, unless `verdict` says otherwise."""

    what: str
    reason: str
    frame: bytes = ether(tcp4())
    setup: BondSetup = field(default_factory=BondSetup)
    verdict: int = SHOT


ENDED = [
    Ended("ARP", "tx_not_ip", ether(packets.arp())),
    Ended("VLAN tag before the IP header", "tx_not_ip", with_byte(ether(tcp4()), 12, 0x81)),
    Ended("IPv6 under IPv4's ethertype", "tx_malformed", ether(tcp6())[:12] + b"\x08\0" + bytes(tcp6())),
    Ended("IPv4 under IPv6's ethertype", "tx_malformed", ether(tcp4())[:12] + b"\x86\xdd" + bytes(tcp4())),
    Ended("version 5", "tx_malformed", with_byte(ether(tcp4()), 14, 0x55)),
    Ended("header length 16", "tx_malformed", with_byte(ether(tcp4()), 14, 0x44)),
    Ended("header length 0", "tx_malformed", with_byte(ether(tcp4()), 14, 0x40)),
    Ended("nobody's address", "tx_no_peer", ether(tcp4(dst=packets.NOBODY4))),
    Ended("nobody's IPv6 address", "tx_no_peer", ether(tcp6(dst=packets.NOBODY6))),
    Ended(
        "an IPv4 prefix is not an IPv6 one of the same bits",
        "tx_no_peer",
        ether(tcp6(dst="a01::1")),
        BondSetup(allowed=("10.1.0.0/16",)),
    ),
    Ended("peer without paths", "tx_no_path", setup=paths()),
    Ended("the only path is ineligible", "tx_no_path", setup=paths(PathSetup(eligible=False, link_up=False))),
    Ended("DEVICE only matters on mp0", "tx_no_path", setup=BondSetup(paths=(), device=True)),
]


@pytest.mark.parametrize("case", ENDED, ids=lambda case: case.what)
def test_ended(rig: Rig, case: Ended) -> None:
    bond = rig.bond(case.setup)
    got = rig.run("tx", case.frame)
    assert (got.verdict, got.reason, got.data) == (case.verdict, case.reason, case.frame)
    assert sum(rig.path_packets(bond)) == 0


def test_unconfigured_node_sends_nothing(rig: Rig) -> None:
    rig.bond()
    frame = ether(tcp4())
    with rig.unconfigured():
        got = rig.run("tx", frame)
    assert (got.verdict, got.reason, got.data) == (SHOT, "tx_unconfigured", frame)


def test_longest_prefix_wins_among_peers(rig: Rig) -> None:
    wide = rig.bond(BondSetup(index=0, allowed=("10.0.0.0/8", "::/0")))
    narrow = rig.bond(BondSetup(index=1, allowed=("10.1.2.0/24", "fd00:1:2::/48")))
    host = rig.bond(BondSetup(index=2, allowed=("10.1.2.3/32", "fd00:1:2::3/128")))
    for last, bond in (("10.1.1.255", wide), ("10.1.2.4", narrow), ("10.1.2.3", host)):
        rig.run("tx", ether(tcp4(dst=last)))
        assert sum(rig.path_packets(bond)) == 1, last
    for last, bond in (("fd00:1:3::", wide), ("fd00:1:2::4", narrow), ("fd00:1:2::3", host)):
        rig.run("tx", ether(tcp6(dst=last)))
        assert sum(rig.path_packets(bond)) == 2, last


def test_bond_that_needs_the_device_goes_there_from_mp0(rig: Rig) -> None:
    bond = rig.bond(BondSetup(device=True))
    frame = ether(tcp4())
    got = rig.run("tx", frame, ifindex=rig.lab.mp0)
    assert (got.verdict, got.reason, got.data) == (OK, "tx_to_device", frame)
    assert rig.run("tx", frame, ifindex=rig.lab.far).reason == "tx_sent"
    assert rig.path_packets(bond) == [1]


def test_mp0_sends_at_once_what_does_not(rig: Rig) -> None:
    rig.bond()
    assert rig.run("tx", ether(tcp4()), ifindex=rig.lab.mp0).reason == "tx_sent"
