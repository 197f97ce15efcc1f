"""tx on real devices: what a test run cannot make, and that what it sends arrives."""

from __future__ import annotations

import socket
from ipaddress import ip_address

import pytest
from scapy.packet import Packet

from tests.bpf import packets
from tests.bpf.packets import ether, tcp4, tcp6
from tests.bpf.rig import BondSetup, PathSetup, Rig

pytestmark = pytest.mark.root

ROUTER_TO_LINK = {4: b"\x08\x00", 6: b"\x86\xdd"}
UDP_SEGMENT = 103


def one_path(family: int) -> BondSetup:
    return BondSetup(paths=(PathSetup(family),), allowed=("10.1.0.0/16", "fd00:1::/32", "239.0.0.0/8"))


def padded(size: int) -> Packet:
    return tcp4() / bytes(size - len(tcp4()))


TOO_SHORT = [
    ("v4 short by a byte", tcp4(), 19),
    ("v4, one byte", tcp4(), 1),
    ("v6 short by a byte", tcp6(), 39),
    ("v6 cut at IPv4's length", tcp6(), 20),
]


@pytest.mark.parametrize(
    ("inner", "size"), [case[1:] for case in TOO_SHORT], ids=[case[0] for case in TOO_SHORT]
)
def test_truncated(rig: Rig, inner: Packet, size: int) -> None:
    rig.bond()
    rig.lab.inject("mp0", ether(inner)[: 14 + size])
    rig.wait_for({"tx_malformed": 1})


ARRIVES = [
    ("unicast", tcp4(), packets.MAC_APP),
    ("to a group that the peer has", tcp4(dst="239.1.2.3"), "01:00:5e:01:02:03"),
    ("to the broadcast address of mp0's network", tcp4(dst="10.1.255.255"), "ff:ff:ff:ff:ff:ff"),
    ("15,000 bytes", padded(15_000), packets.MAC_APP),
]


@pytest.mark.parametrize("family", [4, 6], ids=["over v4", "over v6"])
@pytest.mark.parametrize(("inner", "mac"), [case[1:] for case in ARRIVES], ids=[case[0] for case in ARRIVES])
def test_arrives(rig: Rig, family: int, inner: Packet, mac: str) -> None:
    bond = rig.bond(one_path(family))
    rig.lab.inject("mp0", ether(inner, dst=mac))
    rig.wait_for({"tx_sent": 1})
    ethernet = (
        bytes.fromhex(packets.MAC_ROUTER.replace(":", "")) + rig.lab.mac["wan0"] + ROUTER_TO_LINK[family]
    )
    wanted = packets.tunnelled(family, bond.pair.tx.number, 0, bytes(inner), 0)
    assert rig.lab.receive("isp0").hex() == (ethernet + wanted).hex()


@pytest.mark.parametrize("family", [4, 6], ids=["over v4", "over v6"])
def test_no_room_for_an_outer_header(rig: Rig, family: int) -> None:
    """The kernel gives single packets above 16 KiB (SKB_MAX_ALLOC) none; no link has such an MTU."""
    rig.bond(one_path(family))
    rig.lab.inject("mp0", ether(padded(20_000)))
    rig.wait_for({"tx_to_device": 1, "tx_encap_failed": 1})


@pytest.mark.parametrize("family", [4, 6], ids=["over v4", "over v6"])
def test_too_big_for_ip(rig: Rig, family: int) -> None:
    rig.bond(one_path(family))
    rig.lab.inject("mp0", ether(padded(65_535)))
    rig.wait_for({"tx_to_device": 1, "tx_too_big": 1})


@pytest.mark.parametrize(("family", "overhead"), [(4, 44), (6, 64)])
def test_the_largest_that_ip_can_carry_is_not_too_big(rig: Rig, family: int, overhead: int) -> None:
    rig.bond(one_path(family))
    rig.lab.inject("mp0", ether(padded(65_535 - overhead)))
    rig.wait_for({"tx_to_device": 1, "tx_encap_failed": 1})


def test_super_packet_stays_whole_and_counts_its_segments(rig: Rig) -> None:
    bond = rig.bond(one_path(4))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 1000)
        sender.sendto(b"s" * 2500, (packets.SERVER4, 9))
    rig.wait_for({"tx_sent": 1})
    assert rig.path_packets(bond) == [3]
    frame = rig.lab.receive("isp0")
    assert len(frame) == 14 + 44 + 28 + 2500
    assert frame[58 + 16 : 58 + 20] == ip_address(packets.SERVER4).packed
