"""Copies of a packet as the links should see them, and whether they do."""

from __future__ import annotations

from collections import Counter

from scapy.packet import Packet

from mpbond import wire
from tests.bpf import packets
from tests.bpf.lab import LINKS
from tests.bpf.packets import ether
from tests.bpf.rig import Bond, Rig

COPY_MARK = 0x6D710000
ETHERTYPE = {4: b"\x08\0", 6: b"\x86\xdd"}


def wanted_copy(bond: Bond, path: int, inner: Packet, sequence: int, tos: int = 0) -> bytes:
    """What must follow the Ethernet header of a copy on the wire."""
    header = packets.copied(wire.bond_header(bond.pair.tx.number, path), sequence)
    return packets.sent(bond.setup.paths[path].family, path, header + bytes(inner), tos)


def on_the_wire(rig: Rig, bond: Bond, path: int, inner: Packet, sequence: int, tos: int = 0) -> bytes:
    setup = bond.setup.paths[path]
    source = rig.lab.mac[setup.link]
    ethernet = bytes.fromhex(packets.MAC_ROUTER.replace(":", "")) + source + ETHERTYPE[setup.family]
    return ethernet + wanted_copy(bond, path, inner, sequence, tos)


def send(rig: Rig, inner: Packet, copies: int, times: int = 1) -> None:
    """Out of the stack, through mp0's queue; until all the copies are on their links."""
    before = Counter(rig.counts())
    for _ in range(times):
        rig.lab.inject("mp0", ether(inner))
    rig.wait_for(dict(before + Counter({"tx_to_device": times, "tx_sent": copies * times})))


def check_copies(rig: Rig, bond: Bond, paths: list[int], inner: Packet, sequence: int, tos: int = 0) -> None:
    """Each of `paths` got exactly one copy, to the byte, and nothing else is on any link."""
    for link, isp in LINKS.items():
        here = [path for path in paths if bond.setup.paths[path].link == link]
        got = Counter(rig.lab.receive(isp).hex() for _ in here)
        assert got == Counter(on_the_wire(rig, bond, path, inner, sequence, tos).hex() for path in here)
    assert rig.lab.nothing_more()


def taken_by(bond: Bond, paths: list[int], packets_each: int = 1) -> list[int]:
    return [packets_each * (number in paths) for number in range(len(bond.paths))]
