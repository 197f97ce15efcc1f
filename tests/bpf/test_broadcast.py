"""broadcast, the sending side: what of a packet gets onto which link."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from scapy.packet import Packet

from mpbond import abi
from tests.bpf import packets
from tests.bpf.copying import COPY_MARK, check_copies, send, taken_by, wanted_copy
from tests.bpf.lab import LINKS, PATIENCE_S
from tests.bpf.packets import ether, tcp4, tcp6
from tests.bpf.rig import CLOCK_NS, OK, REDIRECT, SECOND_NS, SHOT, Bond, BondSetup, PathSetup, Rig

pytestmark = pytest.mark.root

MAX_COPIES = 16
START = 1000
_SO_MARK, _SO_RCVMARK = 36, 75

ON_LINK = [PathSetup(link=link) for link in LINKS]
A, B, C = ON_LINK
STALE, OUT = PathSetup(link="wan1", proof_ms=1001), PathSetup(link="wan1", eligible=False)
SPARE = PathSetup(link="wan2", spare=True)


def broadcasting(rig: Rig, *paths: PathSetup, start: int = START, index: int = 0) -> Bond:
    """A bond as the controller sets it up for broadcast; its next packet is number `start`."""
    allowed = BondSetup().allowed if index == 0 else ("10.2.0.0/16", "fd00:2::/32")
    policy = abi.PolicyCode.BROADCAST
    bond = rig.bond(BondSetup(index=index, policy=policy, paths=paths, device=True, allowed=allowed))
    rig.plane.bonds_live["sequence"][index] = start
    return bond


# ---- copies on the wire -----------------------------------------------------------------

SETUPS = [
    ("one link", (A,), [0]),
    ("two links", (A, B), [0, 1]),
    ("three links", (A, B, C), [0, 1, 2]),
    ("IPv4 and IPv6", (A, PathSetup(6, link="wan1"), PathSetup(6, link="wan2")), [0, 1, 2]),
    ("IPv6 first", (PathSetup(6), B), [0, 1]),
    ("two paths of one link", (A, PathSetup(6)), [0, 1]),
    ("the middle one is dead", (A, STALE, C), [0, 2]),
    ("the middle one is ineligible", (A, OUT, C), [0, 2]),
    ("the first is dead", (STALE, A, C), [1, 2]),
    ("the last is dead", (A, C, STALE), [0, 1]),
    ("one is left, the first", (A, STALE, OUT), [0]),
    ("one is left, the last", (OUT, STALE, A), [2]),
    ("proof exactly failoverInterval old", (A, PathSetup(link="wan1", proof_ms=1000)), [0, 1]),
    ("no copy to a spare", (A, B, SPARE), [0, 1]),
    ("one is left besides a spare", (A, STALE, SPARE), [0]),
    ("only the spare is left", (STALE, OUT, SPARE), [2]),
    ("two spares are left: the better one", (STALE, SPARE, PathSetup(spare=True)), [1]),
    ("nothing but spares", (SPARE, PathSetup(spare=True)), [0]),
]


@pytest.mark.parametrize(("paths", "used"), [case[1:] for case in SETUPS], ids=[case[0] for case in SETUPS])
def test_one_copy_for_each_usable_path(rig: Rig, paths: tuple[PathSetup, ...], used: list[int]) -> None:
    bond = broadcasting(rig, *paths)
    send(rig, tcp4(), len(used))
    check_copies(rig, bond, used, tcp4(), START)
    assert rig.path_packets(bond) == taken_by(bond, used)
    sizes = [int(rig.plane.path_stats["tx_bytes"][path].sum()) for path in bond.paths]
    assert sizes == taken_by(bond, used, len(tcp4()))


INNERS = [
    ("IPv6", tcp6(), 0),
    ("TOS", tcp4(tos=0xB9), 0xB9),
    ("traffic class", tcp6(tos=0x5A), 0x5A),
    ("no flow", packets.icmp4(), 0),
    ("9,000 bytes", tcp4() / bytes(9000), 0),
]


@pytest.mark.parametrize(("inner", "tos"), [case[1:] for case in INNERS], ids=[case[0] for case in INNERS])
def test_whatever_is_inside(rig: Rig, inner: Packet, tos: int) -> None:
    bond = broadcasting(rig, A, PathSetup(6, link="wan1"), C)
    send(rig, inner, 3)
    check_copies(rig, bond, [0, 1, 2], inner, START, tos)


def test_numbers_follow_one_another(rig: Rig) -> None:
    """Whatever flow a packet is of, and whatever becomes of the links meanwhile."""
    bond = broadcasting(rig, A, B)
    for number in range(40):
        if number == 20:
            rig.plane.paths_live["proof_ns"][bond.paths[0]] = CLOCK_NS - 2 * SECOND_NS
        inner, used = tcp4(40000 + number % 7), [0, 1] if number < 20 else [1]
        send(rig, inner, len(used))
        check_copies(rig, bond, used, inner, START + number)
    assert rig.plane.bonds_live["sequence"][0] == START + 40


def test_a_burst_is_numbered_without_gaps(rig: Rig) -> None:
    broadcasting(rig, A, B, C)
    send(rig, tcp4(), 3, times=50)
    for isp in LINKS.values():
        frames = [rig.lab.receive(isp) for _ in range(50)]
        assert [int.from_bytes(frame[46:50], "big") for frame in frames] == list(range(START, START + 50))
    assert rig.lab.nothing_more()


@pytest.mark.parametrize("start", [2**32 - 1, 2**33 - 1], ids=["first time", "second time"])
def test_numbers_wrap(rig: Rig, start: int) -> None:
    bond = broadcasting(rig, A, B, start=start)
    for sequence in (2**32 - 1, 0, 1):
        send(rig, tcp4(), 2)
        check_copies(rig, bond, [0, 1], tcp4(), sequence)


def test_bonds_count_each_for_itself(rig: Rig) -> None:
    first, second = broadcasting(rig, A, B), broadcasting(rig, B, C, start=7, index=1)
    for number in range(3):
        send(rig, tcp4(), 2)
        check_copies(rig, first, [0, 1], tcp4(), START + number)
        send(rig, tcp4(dst=packets.OTHER4), 2)
        check_copies(rig, second, [0, 1], tcp4(dst=packets.OTHER4), 7 + number)


def test_no_flow_is_remembered(rig: Rig) -> None:
    broadcasting(rig, A, B)
    send(rig, tcp4(), 2)
    assert not rig.plane.maps["flows"].all_keys()
    assert not rig.plane.flow_cache.any()


def test_copied_to_the_first_sixteen(rig: Rig) -> None:
    paths = tuple(PathSetup(link=list(LINKS)[number % 3]) for number in range(20))
    bond = broadcasting(rig, *paths)
    send(rig, tcp4(), MAX_COPIES)
    check_copies(rig, bond, list(range(MAX_COPIES)), tcp4(), START)


def test_order_says_which_are_copied_to(rig: Rig) -> None:
    """Its leading ones: the controller puts one path of each link there."""
    bond = broadcasting(rig, A, PathSetup(6), B)
    rig.plane.set_order(0, [bond.paths[2], bond.paths[1], bond.paths[0]], 2)
    send(rig, tcp4(), 2)
    check_copies(rig, bond, [1, 2], tcp4(), START)


# ---- none left ------------------------------------------------------------------------------

NONE_LEFT = [
    ("all ineligible", (OUT, OUT)),
    ("no path at all", ()),
]


@pytest.mark.parametrize("paths", [paths for _, paths in NONE_LEFT], ids=[what for what, _ in NONE_LEFT])
def test_none_left(rig: Rig, paths: tuple[PathSetup, ...]) -> None:
    """And downDelay is over, too."""
    bond = broadcasting(rig, *paths)
    rig.plane.bonds_live["clock_ns"][0] += 2 * SECOND_NS
    rig.lab.inject("mp0", ether(tcp4()))
    rig.wait_for({"tx_to_device": 1, "tx_no_path": 1})
    assert rig.lab.nothing_more()
    assert rig.path_packets(bond) == [0] * len(paths)


def test_the_last_alive_serves_for_down_delay(rig: Rig) -> None:
    bond = broadcasting(rig, PathSetup(eligible=False), OUT)
    rig.plane.bonds_live["last_alive_path"][0] = bond.paths[1]
    send(rig, tcp4(), 1)
    check_copies(rig, bond, [1], tcp4(), START)


def test_take_over_looks_beyond_the_leading_ones(rig: Rig) -> None:
    """Both links' best paths are dead; a further path of one of them is not."""
    bond = broadcasting(rig, STALE, PathSetup(proof_ms=5000), C)
    rig.plane.set_order(0, bond.paths, 2)
    send(rig, tcp4(), 1)
    check_copies(rig, bond, [2], tcp4(), START)


# ---- where copies are made -------------------------------------------------------------------


def test_at_mp0_a_packet_is_left_to_the_device(rig: Rig) -> None:
    broadcasting(rig, A, B)
    frame = ether(tcp4())
    got = rig.run("tx", frame, ifindex=rig.lab.mp0)
    assert (got.verdict, got.reason, got.data) == (OK, "tx_to_device", frame)
    assert rig.plane.bonds_live["sequence"][0] == START
    assert rig.lab.nothing_more()


def test_failed_copy_is_counted_and_the_last_still_goes(rig: Rig) -> None:
    """As with a full queue of the kernel's: here there is no far end to copy to."""
    bond = broadcasting(rig, A, B, C)
    rig.plane.node["far_ifindex"] = 0x7FFFFFFF
    try:
        rig.lab.inject("mp0", ether(tcp4()))
        rig.wait_for({"tx_to_device": 1, "tx_copy_failed": 2, "tx_sent": 1})
    finally:
        rig.plane.node["far_ifindex"] = rig.lab.far
    check_copies(rig, bond, [2], tcp4(), START)


def as_copy(inner: Packet, sequence: int) -> bytes:
    """A copy as it comes in at the far end: its number is in the source address."""
    frame = ether(inner)
    return frame[:6] + sequence.to_bytes(4, "little") + frame[10:]


@pytest.mark.parametrize("policy", abi.PolicyCode)
def test_a_copy_goes_where_its_mark_says(rig: Rig, policy: abi.PolicyCode) -> None:
    """Whatever the bond's policy has become meanwhile."""
    bond = rig.bond(BondSetup(policy=policy, paths=(PathSetup(4), PathSetup(6))))
    before = int(rig.plane.bonds_live["sequence"][0])
    for path in (1, 0):
        got = rig.run("tx", as_copy(tcp4(), 0xA1B2C3D4), mark=COPY_MARK | bond.paths[path])
        assert (got.verdict, got.reason) == (REDIRECT, "tx_sent")
        assert got.data[14:].hex() == wanted_copy(bond, path, tcp4(), 0xA1B2C3D4).hex()
    assert rig.path_packets(bond) == [1, 1]
    assert rig.plane.bonds_live["sequence"][0] == before
    assert rig.lab.nothing_more(), "a copy makes no copies"


GONE = [("dead", 1), ("ineligible", 2), ("unused", 9), ("another bond's", 20), ("none", 0xFFFF)]


@pytest.mark.parametrize("index", [index for _, index in GONE], ids=[what for what, _ in GONE])
def test_a_copy_whose_path_is_gone(rig: Rig, index: int) -> None:
    """It goes nowhere else: the other links have copies of their own."""
    bond = broadcasting(rig, A, STALE, OUT)
    other = broadcasting(rig, A, index=1)
    assert other.paths == [20]
    frame = as_copy(tcp4(), 5)
    got = rig.run("tx", frame, mark=COPY_MARK | index)
    assert (got.verdict, got.reason, got.data) == (SHOT, "tx_no_path", frame)
    assert sum(rig.path_packets(bond)) == sum(rig.path_packets(other)) == 0


@pytest.mark.parametrize("mark", [0, 7, 0x6D700000, 0x6D720000, 0x00006D71, COPY_MARK - 1])
def test_other_marks_are_no_copies(rig: Rig, mark: int) -> None:
    bond = rig.bond(BondSetup(paths=(PathSetup(4),)))
    got = rig.run("tx", as_copy(tcp4(), 5), mark=mark)
    assert got.data[14:] == packets.tunnelled(4, bond.pair.tx.number, 0, bytes(tcp4()), 0)


@pytest.mark.parametrize("where", ["isp0", "wan0"])
def test_the_mark_counts_at_the_far_end_only(rig: Rig, where: str) -> None:
    bond = rig.bond(BondSetup(paths=(PathSetup(4), PathSetup(6)), slots=(0,)))
    got = rig.run("tx", as_copy(tcp4(), 5), ifindex=rig.lab.ifindex[where], mark=COPY_MARK | bond.paths[1])
    assert got.data[14:] == packets.tunnelled(4, bond.pair.tx.number, 0, bytes(tcp4()), 0)


# ---- marks ------------------------------------------------------------------------------------


@contextmanager
def marked_sender(mark: int) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.setsockopt(socket.SOL_SOCKET, _SO_MARK, mark)
        sender.bind(("mp0", 0))
        yield sender


def mark_of_next(listener: socket.socket) -> int:
    assert select.select([listener], [], [], PATIENCE_S)[0]
    _, ancillary, _, _ = listener.recvmsg(1 << 17, 64)
    (data,) = (data for level, kind, data in ancillary if (level, kind) == (socket.SOL_SOCKET, _SO_MARK))
    return int.from_bytes(data, "little")


@pytest.mark.parametrize("mark", [0, 0xBEEF], ids=["none", "the user's"])
def test_no_mark_gets_onto_the_links(rig: Rig, mark: int) -> None:
    """Neither ours nor the user's: the link's own rules would act by it."""
    broadcasting(rig, A, B, C)
    listeners = [rig.lab.sockets[isp] for isp in LINKS.values()]
    try:
        for listener in listeners:
            listener.setsockopt(socket.SOL_SOCKET, _SO_RCVMARK, 1)
        with marked_sender(mark) as sender:
            sender.send(ether(tcp4()))
        assert [mark_of_next(listener) for listener in listeners] == [0, 0, 0]
    finally:
        for listener in listeners:
            listener.setsockopt(socket.SOL_SOCKET, _SO_RCVMARK, 0)


# ---- the whole way ------------------------------------------------------------------------------


def test_copies_of_ours_are_taken_as_copies(rig: Rig) -> None:
    """What tx puts on the wire, turned round as the peer would send it: once, then no more."""
    bond = broadcasting(rig, A, B)
    rig.learn(bond)
    send(rig, tcp4(), 2)
    reasons = []
    for path, isp in enumerate(("isp0", "isp1")):
        header = bytearray(rig.lab.receive(isp)[42:58])
        header[8:16] = bond.pair.rx.number
        payload = bytes(header) + bytes(packets.reply4(8))
        frame = packets.framed(packets.outer(4, payload, number=path))
        reasons.append(rig.run("rx_tc", frame).reason)
    assert reasons == ["rx_delivered", "rx_duplicate"]
    assert rig.path_packets(bond, "rx") == [1, 1]
