"""rx: one table of packets, the same expectation at each of the three hooks.

tc and XDP run as test runs; the hook of links without Ethernet headers takes the
same packet less its 14 bytes from a real tun device, as a test run has no such.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from scapy.layers.inet import IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from mpbond import sessions, wire
from tests.bpf import packets
from tests.bpf.packets import (
    CLIENT4,
    LOCAL,
    MAC_LINK,
    MAC_ROUTER,
    NOBODY4,
    NOBODY6,
    SERVER4,
    data,
    framed,
    outer,
    reply4,
    reply6,
)
from tests.bpf.rig import (
    REDIRECT,
    SHOT,
    UNSPEC,
    XDP_DROP,
    XDP_PASS,
    XDP_REDIRECT,
    Bond,
    BondSetup,
    PathSetup,
    Rig,
)

pytestmark = pytest.mark.root

US = BondSetup(paths=(PathSetup(4), PathSetup(6)))
OTHER = BondSetup(index=1, paths=(PathSetup(4),), allowed=("10.2.0.0/16", "fd00:2::/32"))
SESSION = sessions.derive(b"\x01" * 32, "us", "peer0").rx.number
OTHERS_SESSION = sessions.derive(b"\x02" * 32, "us", "peer1").rx.number
STRANGER = b"\xde\xad\xbe\xef\0\0\0\x01"

PASSED = {"rx_not_ours", "rx_unconfigured"}
VERDICTS = {"rx_tc": (REDIRECT, SHOT, UNSPEC), "rx_xdp": (XDP_REDIRECT, XDP_DROP, XDP_PASS)}


@dataclass(frozen=True)
class Case:
    """`path`: the number of the path that a delivered packet is counted on."""

    what: str
    reason: str
    frame: bytes
    inner: Packet | bytes | None = None
    path: int | None = 0
    foreign_ethernet: bool = False


def delivered(what: str, family: int, inner: Packet | bytes, **fields: int) -> Case:
    number = fields.get("number", 0)
    frame = data(family, SESSION, inner, number=number)
    return Case(what, "rx_delivered", frame, inner, number if number < 2 else None)


def inside(inner: Packet | bytes, family: int = 4) -> bytes:
    return data(family, SESSION, inner)


def header(first: int = wire.VERSION << 4, flags: int = 0, session: bytes = SESSION) -> bytes:
    """A data packet with the first two bytes of its bond header as given."""
    good = wire.bond_header(session, 0)
    return framed(outer(4, bytes([first, flags]) + good[2:] + bytes(reply4(8))))


def fragment(**fields: object) -> bytes:
    return data(4, SESSION, reply4(64), **fields)  # type: ignore[arg-type]


CASES = [
    delivered("v4 in v4", 4, reply4(100)),
    delivered("v6 in v4", 4, reply6(100)),
    delivered("v4 in v6", 6, reply4(100)),
    delivered("v6 in v6", 6, reply6(100)),
    delivered("28 bytes of IPv4 in v4", 4, reply4()),
    delivered("28 bytes of IPv4 in v6", 6, reply4()),
    delivered("48 bytes of IPv6 in v4", 4, reply6()),
    delivered("an IPv4 header alone, in v6", 6, IP(src=SERVER4, dst=CLIENT4, proto=59)),
    delivered("an IPv6 header alone, in v4", 4, IPv6(src=packets.SERVER6, dst=packets.CLIENT6, nh=59)),
    delivered("inner IPv4 options", 4, IP(src=SERVER4, dst=CLIENT4, options=[IPOption_NOP()] * 8) / UDP()),
    delivered("1400 bytes", 6, reply4(1400)),
    delivered("odd length", 4, reply4(33)),
    delivered("Ethernet padding behind", 4, bytes(reply4(8)) + bytes(18)),
    delivered("the peer's second path", 4, reply4(8), number=1),
    delivered("a path of the peer that never probed", 4, reply4(8), number=5),
    delivered("path number 127", 4, reply4(8), number=127),
    delivered("path number 128", 4, reply4(8), number=128),
    delivered("path number 255", 4, reply4(8), number=255),
    Case("unknown session to our address", "rx_unknown_session", data(4, STRANGER, reply4(8))),
    Case("unknown session to our v6 address", "rx_unknown_session", data(6, STRANGER, reply4(8))),
    Case("unknown session passing through", "rx_not_ours", data(4, STRANGER, reply4(8), dst=NOBODY4)),
    Case("unknown v6 session passing through", "rx_not_ours", data(6, STRANGER, reply4(8), dst=NOBODY6)),
    Case("session 0", "rx_unknown_session", data(4, bytes(8), reply4(8))),
    Case("session in the wrong byte order", "rx_unknown_session", data(4, SESSION[::-1], reply4(8))),
    Case("version 0", "rx_bad_version", header(0x00)),
    Case("version 2", "rx_bad_version", header(0x20)),
    Case("version 15", "rx_bad_version", header(0xF0)),
    Case("type 3", "rx_bad_type", header(0x13)),
    Case("type 15", "rx_bad_type", header(0x1F)),
    Case("unknown flag", "rx_bad_type", header(flags=0x02)),
    Case("the last flag", "rx_bad_type", header(flags=0x80)),
    Case("unknown flag besides that of copies", "rx_bad_type", header(flags=0x03)),
    Case("all flags", "rx_bad_type", header(flags=0xFF)),
    Case("nothing inside", "rx_inner_malformed", inside(b"")),
    Case("no IP inside", "rx_inner_malformed", inside(b"\x50" + bytes(60))),
    Case("inner version 0", "rx_inner_malformed", inside(bytes(60))),
    Case("19 bytes inside", "rx_inner_malformed", inside(bytes(reply4())[:19])),
    Case("39 bytes of IPv6 inside", "rx_inner_malformed", inside(bytes(reply6())[:39], 6)),
    Case("inner header length 16", "rx_inner_malformed", inside(b"\x44" + bytes(reply4(8))[1:])),
    Case("inner total below its header", "rx_inner_malformed", inside(IP(len=19))),
    Case("inner total one byte more than there is", "rx_truncated", inside(bytes(reply4(8))[:-1])),
    Case("inner IPv6 one byte short", "rx_truncated", inside(bytes(reply6(8))[:-1], 6)),
    Case("source outside the peer's prefixes", "rx_source_not_allowed", inside(reply4(8, src=NOBODY4))),
    Case("v6 source outside", "rx_source_not_allowed", inside(reply6(8, src=NOBODY6), 6)),
    Case("our own address as source", "rx_source_not_allowed", inside(reply4(8, src=CLIENT4))),
    Case("another peer's source", "rx_source_not_allowed", inside(reply4(8, src=packets.OTHER4))),
    Case("another peer's v6 source", "rx_source_not_allowed", inside(reply6(8, src=packets.OTHER6))),
    Case("another peer's session", "rx_source_not_allowed", data(4, OTHERS_SESSION, reply4(8))),
    Case("first fragment of an outer packet", "rx_fragment", fragment(flags="MF")),
    Case("first fragment passing through", "rx_not_ours", fragment(flags="MF", dst=NOBODY4)),
    Case("later fragment", "rx_not_ours", fragment(frag=185, flags=0)),
    Case("outer IP options", "rx_not_ours", fragment(options=[IPOption_NOP()] * 4)),
    Case("outer header length 16", "rx_not_ours", framed(outer(4, b"x" * 64, ihl=4))),
    Case("another UDP port", "rx_not_ours", data(4, SESSION, reply4(8), dport=packets.PORT + 1)),
    Case("our port as source only", "rx_not_ours", data(6, SESSION, reply4(8), dport=1)),
    Case("TCP to our port", "rx_not_ours", framed(IP(src=NOBODY4, dst=LOCAL[4]) / TCP(dport=packets.PORT))),
    Case(
        "an extension header before UDP",
        "rx_not_ours",
        framed(IPv6(dst=LOCAL[6]) / IPv6ExtHdrDestOpt() / UDP(dport=packets.PORT) / Raw(bytes(64))),
    ),
    Case("ARP", "rx_not_ours", framed(packets.arp()), foreign_ethernet=True),
    Case(
        "VLAN tag",
        "rx_not_ours",
        bytes(Ether(src=MAC_ROUTER, dst=MAC_LINK, type=0x8100)) + b"\0\x64\x08\0" + inside(reply4(8))[14:],
        foreign_ethernet=True,
    ),
]
ON_ETHERNET = [(hook, case) for hook in VERDICTS for case in CASES]


def set_up(rig: Rig) -> Bond:
    bond = rig.bond(US)
    rig.bond(OTHER)
    rig.learn(bond)
    return bond


def to_mp0(rig: Rig, inner: Packet | bytes) -> bytes:
    """A delivered packet's frame: addressed to mp0 whatever the link's header said."""
    raw = bytes(inner)
    return rig.lab.mac["mp0"] * 2 + (b"\x08\0" if raw[0] >> 4 == 4 else b"\x86\xdd") + raw


def check_counted(rig: Rig, bond: Bond, case: Case) -> None:
    counts = [0, 0]
    if case.inner is not None and case.path is not None:
        counts[case.path] = 1
        index = bond.paths[case.path]
        assert int(rig.plane.path_stats["rx_bytes"][index].sum()) == len(bytes(case.inner))
    assert rig.path_packets(bond, "rx") == counts
    assert rig.path_packets(bond, "tx") == [0, 0]


@pytest.mark.parametrize(
    ("hook", "case"), ON_ETHERNET, ids=[f"{hook}: {case.what}" for hook, case in ON_ETHERNET]
)
def test_on_ethernet(rig: Rig, hook: str, case: Case) -> None:
    bond = set_up(rig)
    redirect, drop, on = VERDICTS[hook]
    got = rig.run(hook, case.frame)
    assert got.reason == case.reason
    if case.inner is not None:
        assert (got.verdict, got.data.hex()) == (redirect, to_mp0(rig, case.inner).hex())
    else:
        assert (got.verdict, got.data) == (on if case.reason in PASSED else drop, case.frame)
    check_counted(rig, bond, case)


BARE = [case for case in CASES if not case.foreign_ethernet]


@pytest.mark.parametrize("case", BARE, ids=lambda case: case.what)
def test_without_ethernet(rig: Rig, case: Case) -> None:
    bond = set_up(rig)
    rig.lab.inject("tun0", case.frame[14:])
    rig.wait_for({case.reason: 1})
    if case.inner is not None:
        assert rig.lab.receive("mp0").hex() == to_mp0(rig, case.inner).hex()
    check_counted(rig, bond, case)


def reason_of_length(family: int, inner: bytes, size: int) -> str:
    """Of a good packet cut after `size` bytes of IP."""
    outer_len, inner_header = {4: (20, 44), 6: (40, 64)}[family], {4: 20, 6: 40}[inner[0] >> 4]
    ip_len, overhead = outer_len
    if size < ip_len + 8:
        return "rx_not_ours"
    if size < overhead:
        return "rx_truncated"
    if size < overhead + inner_header:
        return "rx_inner_malformed"
    return "rx_delivered" if size == overhead + len(inner) else "rx_truncated"


INNERS = [("v4", bytes(reply4(12))), ("v6", bytes(reply6(12)))]


@pytest.mark.parametrize("hook", ["rx_tc", "rx_xdp", "rx_l3"])
@pytest.mark.parametrize("family", [4, 6], ids=["in v4", "in v6"])
@pytest.mark.parametrize("inner", [inner for _, inner in INNERS], ids=[what for what, _ in INNERS])
def test_cut_at_every_length(rig: Rig, hook: str, family: int, inner: bytes) -> None:
    set_up(rig)
    frame = data(family, SESSION, inner)
    # The kernel makes no tc test run of less than an IP header.
    first = {"rx_tc": 20 if family == 4 else 40, "rx_xdp": 0, "rx_l3": 1}[hook]
    for size in range(first, len(frame) - 14 + 1):
        reason = reason_of_length(family, inner, size)
        if hook == "rx_l3":
            rig.plane._reasons[:] = 0
            rig.lab.inject("tun0", frame[14 : 14 + size])
            rig.wait_for({reason: 1})
        else:
            assert rig.run(hook, frame[: 14 + size]).reason == reason, f"{size} bytes"


@pytest.mark.parametrize("hook", VERDICTS)
def test_unconfigured_node_passes_all(rig: Rig, hook: str) -> None:
    set_up(rig)
    frame = data(4, SESSION, reply4(8))
    with rig.unconfigured():
        got = rig.run(hook, frame)
    assert (got.verdict, got.reason, got.data) == (VERDICTS[hook][2], "rx_unconfigured", frame)


def test_super_packet_counts_its_segments(rig: Rig) -> None:
    bond = set_up(rig)
    frame = data(4, SESSION, reply4(3000))
    assert rig.run("rx_tc", frame, gso_segs=3).reason == "rx_delivered"
    assert rig.path_packets(bond, "rx") == [3, 0]


def test_tagged_packet_on_the_wire_is_the_vlan_devices(rig: Rig) -> None:
    """The stack takes the tag off before tc sees the packet; it is still not ours:
    the link is the VLAN device, where the packet comes by next."""
    set_up(rig)
    plain = data(4, SESSION, reply4(8))
    rig.lab.inject("isp0", plain[:12] + b"\x81\0\0\x64" + plain[12:])
    rig.wait_for({"rx_not_ours": 1})
