"""Packets as scapy one-liners, and the addresses that the tests speak of by name.

Inner: CLIENT is behind us, SERVER behind the peer, OTHER behind another peer.
Outer: LOCAL is ours, PEER the peer's, NOBODY neither's.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from mpbond import wire

CLIENT4, SERVER4, OTHER4, NOBODY4 = "10.0.0.1", "10.1.0.1", "10.2.0.1", "203.0.113.9"
CLIENT6, SERVER6, OTHER6, NOBODY6 = "fd00::1", "fd00:1::1", "fd00:2::1", "2001:db8:dead::9"
LOCAL = {4: "192.0.2.1", 6: "2001:db8:1::1"}
PEER = {4: "198.51.100.1", 6: "2001:db8:2::1"}
GATEWAY = {4: "192.0.2.254", 6: "fe80::fe"}
PORT = 9944
FLAG_COPY = 1 << 0  # of the bond header

MAC_LINK, MAC_ROUTER, MAC_APP = "02:00:00:00:01:00", "02:00:00:00:01:fe", "02:00:00:00:0a:0a"


def peer_address(family: int, number: int) -> IPv4Address | IPv6Address:
    """The peer's end of its path `number`: each path has its own."""
    return ip_address(PEER[family]) + number


def ether(inner: Packet, *, dst: str = MAC_APP) -> bytes:
    """The frame in which the inner packet comes to tx."""
    return bytes(Ether(src=MAC_APP, dst=dst) / inner)


def tcp4(sport: int = 40000, dport: int = 443, *, tos: int = 0, dst: str = SERVER4) -> Packet:
    return IP(src=CLIENT4, dst=dst, tos=tos) / TCP(sport=sport, dport=dport) / b"hello over v4"


def tcp6(sport: int = 40000, dport: int = 443, *, tos: int = 0, dst: str = SERVER6) -> Packet:
    return IPv6(src=CLIENT6, dst=dst, tc=tos, fl=0xABCDE) / TCP(sport=sport, dport=dport) / b"hello over v6"


def udp4(sport: int = 5000, dport: int = 53) -> Packet:
    return IP(src=CLIENT4, dst=SERVER4) / UDP(sport=sport, dport=dport)


def icmp4(sequence: int = 1) -> Packet:
    return IP(src=CLIENT4, dst=SERVER4) / ICMP(seq=sequence)


def icmp6(sequence: int = 1) -> Packet:
    return IPv6(src=CLIENT6, dst=SERVER6) / ICMPv6EchoRequest(seq=sequence)


def fragment4(offset: int, ident: int, *, more: bool = True) -> Packet:
    """A piece of a UDP datagram; `offset` in units of 8 bytes. Only the first has ports."""
    head = IP(src=CLIENT4, dst=SERVER4, id=ident, frag=offset, flags="MF" if more else 0, proto=17)
    return head / (bytes(UDP(sport=7, dport=9, len=4000)) if offset == 0 else b"") / (b"f" * 64)


def fragment6(offset: int, ident: int, *, more: bool = True) -> Packet:
    head = IPv6(src=CLIENT6, dst=SERVER6) / IPv6ExtHdrFragment(nh=17, offset=offset, id=ident, m=int(more))
    return head / (bytes(UDP(sport=7, dport=9, len=4000)) if offset == 0 else b"") / (b"f" * 64)


def extended6(sport: int = 40000) -> Packet:
    """TCP behind three extension headers."""
    head = IPv6(src=CLIENT6, dst=SERVER6) / IPv6ExtHdrHopByHop() / IPv6ExtHdrRouting() / IPv6ExtHdrDestOpt()
    return head / TCP(sport=sport, dport=443)


def options4(sport: int = 40000) -> Packet:
    """TCP behind 8 bytes of IPv4 options."""
    return IP(src=CLIENT4, dst=SERVER4, options=[IPOption_NOP()] * 8) / TCP(sport=sport, dport=443)


def reply4(size: int = 0, *, src: str = SERVER4) -> Packet:
    """What the peer sends us; with `size` 0 the smallest there is: 28 bytes."""
    return IP(src=src, dst=CLIENT4) / UDP(sport=443, dport=40000) / (b"x" * size)


def reply6(size: int = 0, *, src: str = SERVER6) -> Packet:
    return IPv6(src=src, dst=CLIENT6) / UDP(sport=443, dport=40000) / (b"x" * size)


def arp() -> Packet:
    return ARP(psrc=CLIENT4, pdst=SERVER4)


def outer(family: int, payload: bytes, **fields: Any) -> Packet:
    """IP and UDP as the peer sends them to us, around `payload`. `fields` go to the
    IP header; `number` chooses the peer's path, `sport` its port, `dport` ours, `dst` our
    address."""
    number, dport, sport = fields.pop("number", 0), fields.pop("dport", PORT), fields.pop("sport", PORT)
    ends = {"src": str(peer_address(family, number)), "dst": LOCAL[family]} | fields
    udp = UDP(sport=sport, dport=dport, chksum=0) / Raw(payload)
    if family == 4:
        return IP(**({"flags": "DF", "id": 0, "ttl": 61} | ends)) / udp
    return IPv6(**({"hlim": 61} | ends)) / udp


def framed(packet: Packet) -> bytes:
    """On the Ethernet of a link, from the router to us."""
    return bytes(Ether(src=MAC_ROUTER, dst=MAC_LINK) / packet)


def data(family: int, session: bytes, inner: Packet | bytes, *, number: int = 0, **fields: Any) -> bytes:
    """A frame with a data packet of the peer."""
    payload = wire.bond_header(session, number) + bytes(inner)
    return framed(outer(family, payload, number=number, **fields))


def copied(header: bytes, sequence: int) -> bytes:
    """A bond header as broadcast makes it: one of the copies of packet `sequence`."""
    return header[:1] + bytes([FLAG_COPY]) + header[2:4] + sequence.to_bytes(4, "big") + header[8:]


def copy(
    family: int, session: bytes, sequence: int, inner: Packet | bytes, *, number: int = 0, **fields: Any
) -> bytes:
    """A frame with one of the peer's copies of its packet `sequence`."""
    payload = copied(wire.bond_header(session, number), sequence) + bytes(inner)
    return framed(outer(family, payload, number=number, **fields))


def sent(family: int, number: int, payload: bytes, tos: int = 0, sport: int = PORT) -> bytes:
    """IP and UDP as our path `number` sends them, around `payload`."""
    udp = UDP(sport=sport, dport=PORT, chksum=0) / Raw(payload)
    remote = str(peer_address(family, number))
    if family == 4:
        return bytes(IP(src=LOCAL[4], dst=remote, tos=tos, id=0, flags="DF", ttl=64) / udp)
    return bytes(IPv6(src=LOCAL[6], dst=remote, tc=tos, fl=0, hlim=64) / udp)


def tunnelled(family: int, session: bytes, number: int, inner: bytes, tos: int) -> bytes:
    """What must follow the Ethernet header of a packet that tx has wrapped."""
    return sent(family, number, wire.bond_header(session, number) + inner, tos)
