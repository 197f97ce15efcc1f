"""The ready-made outer header, byte by byte, and against scapy's idea of one."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6

from mpbond.layout import OVERHEAD_V4, OVERHEAD_V6
from mpbond.wire import (
    HEADER_LEN,
    TYPE_ANSWER,
    TYPE_DATA,
    TYPE_HANDSHAKE,
    TYPE_PROBE,
    Template,
    bond_header,
    template,
)

SESSION = bytes.fromhex("0102030405060708")
PORTS = (9944, 9945)
V4 = ip_address("192.0.2.1"), ip_address("198.51.100.7")
V6 = ip_address("2001:db8::1"), ip_address("2001:db8:ffff::7")


def of(addresses: tuple[object, object], number: int = 5) -> Template:
    local, remote = addresses
    return template(local, remote, PORTS, number)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "sequence", "expected"),
    [
        (TYPE_DATA, 0, "10 00 03 7f 00000000 0102030405060708"),
        (TYPE_PROBE, 1, "11 00 03 7f 00000001 0102030405060708"),
        (TYPE_ANSWER, 0xFFFFFFFF, "12 00 03 7f ffffffff 0102030405060708"),
        (TYPE_HANDSHAKE, 0, "13 00 03 7f 00000000 0102030405060708"),
    ],
)
def test_bond_header(kind: int, sequence: int, expected: str) -> None:
    header = bond_header(SESSION, 127, kind=kind, sequence=sequence, connection=3)
    assert header == bytes.fromhex(expected)
    assert len(header) == HEADER_LEN


def test_ipv4_bytes() -> None:
    assert of(V4).header == bytes.fromhex(
        "45 00 0000 0000 4000 40 11 0000 c0000201 c6336407"  # lengths, checksum, session are tx's
        "26d8 26d9 0000 0000"
        "10 00 0005 00000000 0000000000000000"
    )


def test_ipv6_bytes() -> None:
    assert of(V6).header == bytes.fromhex(
        "60000000 0000 11 40 20010db8000000000000000000000001 20010db8ffff00000000000000000007"
        "26d8 26d9 0000 0000"
        "10 00 0005 00000000 0000000000000000"
    )


def test_the_overhead_is_what_the_mtu_reckons_with() -> None:
    assert len(of(V4).header) == OVERHEAD_V4
    assert len(of(V6).header) == OVERHEAD_V6


def finished(made: Template, *, tos: int, payload: int) -> bytes:
    """The IPv4 header as tx completes it: length, TOS, and a checksum from the template's sum."""
    length = len(made.header) + payload
    words = (struct.pack("!BB", 0x45, tos), struct.pack("!H", length))
    tos_word, length_word = (struct.unpack("=H", word)[0] for word in words)
    plain = struct.unpack("=H", b"\x45\0")[0]
    total = made.checksum - plain + tos_word + length_word
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    head = made.header
    checksum = struct.pack("=H", ~total & 0xFFFF)
    return words[0] + words[1] + head[4:10] + checksum + head[12:20]


@pytest.mark.parametrize(("tos", "payload"), [(0, 0), (0, 1400), (0xB8, 40), (0x03, 65_000)])
def test_the_ipv4_checksum_is_scapys(tos: int, payload: int) -> None:
    packet = IP(tos=tos, id=0, flags="DF", ttl=64, proto=17, src=str(V4[0]), dst=str(V4[1]))
    packet.len = OVERHEAD_V4 + payload
    assert finished(of(V4), tos=tos, payload=payload) == bytes(packet)


def test_scapy_reads_the_ipv4_template() -> None:
    packet = IP(of(V4).header)
    assert (packet.src, packet.dst, packet.ttl, str(packet.flags)) == (str(V4[0]), str(V4[1]), 64, "DF")
    assert (packet[UDP].sport, packet[UDP].dport, packet[UDP].chksum) == (*PORTS, 0)


def test_scapy_reads_the_ipv6_template() -> None:
    made = of(V6).header
    packet = IPv6(made[:4] + struct.pack("!H", len(made) - 40) + made[6:])
    assert (packet.src, packet.dst, packet.hlim, packet.nh) == (str(V6[0]), str(V6[1]), 64, 17)
    assert (packet.tc, packet.fl) == (0, 0)
    assert (packet[UDP].sport, packet[UDP].dport, packet[UDP].chksum) == (*PORTS, 0)
    assert of(V6).checksum == 0


def test_two_families_make_no_path() -> None:
    with pytest.raises(ValueError, match="different families"):
        of((V4[0], V6[1]))
