"""How a packet gets to mp0: straight, or out of mp0's far end where it came in alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from scapy.packet import Packet

from mpbond import abi
from mpbond.layout import far_name
from tests.bpf import packets
from tests.bpf.lab import BOND
from tests.bpf.packets import reply4, reply6
from tests.bpf.rig import Bond, BondSetup, PathSetup, Rig

pytestmark = pytest.mark.root

WAYS = {"straight": False, "by the far end": True}


def far_sent() -> int:
    """Packets that mp0's far end has sent, ever: what was delivered by it."""
    lines = Path("/proc/thread-self/net/dev").read_text().splitlines()
    (line,) = (line for line in lines if line.strip().startswith(f"{far_name(BOND)}:"))
    return int(line.split(":")[1].split()[9])


def two_paths(rig: Rig, family: int, link: str, gro: list[bool]) -> Bond:
    paths = tuple(PathSetup(family, link=link, gro=wanted) for wanted in gro)
    bond = rig.bond(BondSetup(paths=paths))
    rig.learn(bond)
    return bond


def come_in(rig: Rig, link: str, frame: bytes) -> None:
    if link == "tun0":
        rig.lab.inject("tun0", frame[14:])
    else:
        rig.lab.inject("isp0", frame)


def to_mp0(rig: Rig, inner: Packet) -> bytes:
    ethertype = b"\x08\0" if bytes(inner)[0] >> 4 == 4 else b"\x86\xdd"
    return rig.lab.mac["mp0"] * 2 + ethertype + bytes(inner)


@pytest.mark.parametrize("gro", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("link", ["wan0", "tun0"])
@pytest.mark.parametrize("family", [4, 6], ids=["in v4", "in v6"])
@pytest.mark.parametrize(
    "inner", [reply4(100), reply6(100), reply4(), reply4(1400)], ids=["v4", "v6", "smallest", "1400 bytes"]
)
def test_arrives_on_mp0(rig: Rig, inner: Packet, family: int, link: str, gro: bool) -> None:
    """The path that it came by says which way it goes, no other path does."""
    bond = two_paths(rig, family, link, [not gro, gro])
    before = far_sent()
    come_in(rig, link, packets.data(family, bond.pair.rx.number, inner, number=1))
    rig.wait_for({"rx_delivered": 1})
    assert rig.lab.receive(BOND).hex() == to_mp0(rig, inner).hex()
    assert rig.lab.nothing_more(), "once"
    assert far_sent() - before == int(gro)
    assert rig.path_packets(bond, "rx") == [0, 1]


@pytest.mark.parametrize("gro", WAYS.values(), ids=WAYS)
def test_copies_go_the_same_ways(rig: Rig, gro: bool) -> None:
    bond = two_paths(rig, 4, "wan0", [gro, not gro])
    before = far_sent()
    for _ in range(3):
        come_in(rig, "wan0", packets.copy(4, bond.pair.rx.number, 9, reply4(8)))
    rig.wait_for({"rx_delivered": 1, "rx_duplicate": 2})
    assert rig.lab.receive(BOND) == to_mp0(rig, reply4(8))
    assert rig.lab.nothing_more()
    assert far_sent() - before == int(gro)


@pytest.mark.parametrize("number", [7, 127, 128, 255])
def test_path_that_the_peer_never_probed(rig: Rig, number: int) -> None:
    """Nothing is known of its link: straight."""
    bond = two_paths(rig, 4, "wan0", [True, True])
    before = far_sent()
    come_in(rig, "wan0", packets.data(4, bond.pair.rx.number, reply4(8), number=number))
    assert rig.lab.receive(BOND) == to_mp0(rig, reply4(8))
    assert far_sent() == before


def test_flag_may_change_under_way(rig: Rig) -> None:
    """As when a user turns a link's offloads."""
    bond = two_paths(rig, 4, "wan0", [False])
    frame = packets.data(4, bond.pair.rx.number, reply4(8))
    for on in (False, True, False):
        rig.plane.set_path_flag(bond.paths[0], abi.PathFlag.GRO, on)
        before = far_sent()
        come_in(rig, "wan0", frame)
        assert rig.lab.receive(BOND) == to_mp0(rig, reply4(8))
        assert far_sent() - before == int(on)
