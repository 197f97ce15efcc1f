"""Mutated and random packets: none comes in without a session number and a right
source, and each is counted exactly once."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from mpbond import abi, wire
from tests.bpf import packets, probes
from tests.bpf.probes import Probe, answer
from tests.bpf.rig import (
    REDIRECT,
    SHOT,
    UNSPEC,
    XDP_DROP,
    XDP_PASS,
    XDP_REDIRECT,
    Bond,
    BondSetup,
    FastRun,
    PathSetup,
    Rig,
)
from tests.bpf.siphash_ref import siphash24

pytestmark = pytest.mark.root

RX_PACKETS, TX_PACKETS = 100_000, 20_000
COPY_NUMBER = 0x01020304
# broadcast's copies come by once more each, while the test counts the ends of one.
ONE_PACKET_EACH = [policy for policy in abi.PolicyCode if policy is not abi.PolicyCode.BROADCAST]
PATHS = tuple(PathSetup(family) for family in (4, 6, 4))
US = BondSetup(paths=PATHS)
OTHER = BondSetup(index=1, paths=PATHS, allowed=("10.2.0.0/16", "fd00:2::/32"))

Mutation = Callable[[random.Random, bytearray], None]


def flip_bit(rng: random.Random, frame: bytearray) -> None:
    frame[rng.randrange(len(frame))] ^= 1 << rng.randrange(8)


def flip_header_bits(rng: random.Random, frame: bytearray) -> None:
    for _ in range(rng.randint(1, 4)):
        frame[rng.randrange(min(len(frame), 14 + 40 + 8 + 16 + 40))] ^= 1 << rng.randrange(8)


def random_bytes(rng: random.Random, frame: bytearray) -> None:
    at = rng.randrange(len(frame))
    frame[at : at + 8] = rng.randbytes(len(frame[at : at + 8]))


def extreme_word(rng: random.Random, frame: bytearray) -> None:
    """Where lengths, offsets and numbers are: a 16-bit word of the headers."""
    at = 12 + 2 * rng.randrange(54)
    frame[at : at + 2] = rng.choice((b"\0\0", b"\xff\xff", b"\0\x01", b"\x7f\xff", b"\x80\0"))[
        : len(frame) - at
    ]


def cut_short(rng: random.Random, frame: bytearray) -> None:
    del frame[rng.randrange(14, len(frame)) :]


def make_longer(rng: random.Random, frame: bytearray) -> None:
    frame += rng.randbytes(rng.randint(1, 200))


def insert(rng: random.Random, frame: bytearray) -> None:
    at = rng.randrange(len(frame))
    frame[at:at] = rng.randbytes(rng.randint(1, 16))


def take_out(rng: random.Random, frame: bytearray) -> None:
    at = rng.randrange(12, len(frame))
    del frame[at : at + rng.randint(1, 16)]


MUTATIONS: tuple[Mutation, ...] = (
    *(flip_bit, flip_header_bits, random_bytes, extreme_word),
    *(cut_short, make_longer, insert, take_out),
)


def mutated(seed: int, bases: list[bytes], count: int) -> Iterator[bytes]:
    """`count` frames: one in 20 as it was, one in 20 fully random."""
    rng = random.Random(seed)
    for number in range(count):
        frame = bytearray(rng.choice(bases))
        if number % 20 == 0:
            frame[rng.choice((12, 14)) :] = rng.randbytes(rng.randint(6, 150))
        elif number % 20 != 1:
            for _ in range(rng.randint(1, 3)):
                if len(frame) > 30:
                    rng.choice(MUTATIONS)(rng, frame)
        yield bytes(frame)


def bond_offset(frame: bytes) -> int:
    """Where the bond header is in a frame that rx took for ours."""
    ethertype = frame[12:14]
    assert ethertype in (b"\x08\0", b"\x86\xdd")
    return 14 + (20 if ethertype == b"\x08\0" else 40) + 8


def may_come_in(frame: bytes, bonds: list[Bond]) -> bool:
    """A plain reading of what rx must demand of a packet that it lets in."""
    at = bond_offset(frame)
    first, flags, session = frame[at], frame[at + 1], frame[at + 8 : at + 16]
    bond = next((bond for bond in bonds if bond.pair.rx.number == session), None)
    if bond is None or first >> 4 != wire.VERSION or first & 0xF > wire.TYPE_ANSWER:
        return False
    if flags & ~(packets.FLAG_COPY if first & 0xF == wire.TYPE_DATA else 0):
        return False
    message = frame[at : at + probes.MESSAGE_LEN]
    if first & 0xF == wire.TYPE_PROBE:
        return message[-8:] == siphash24(bond.pair.rx.mac_key, message[:-8])
    inner = frame[at + 16 :]
    if first & 0xF == wire.TYPE_ANSWER or inner[0] >> 4 not in (4, 6):
        return False
    source = ip_address(inner[12:16] if inner[0] >> 4 == 4 else inner[8:24])
    return any(source in ip_network(prefix) for prefix in bond.setup.allowed)


def run_all(
    rig: Rig, run: FastRun, frames: Iterator[bytes], judge: Callable[[bytes, int], None], wanted: int
) -> dict[str, int]:
    """Every frame through `run`, each verdict judged; the reasons rise by one each.

    The kernel refuses to build a tc test run of less than an IP header; of the
    frames that it does build there must be `wanted`."""
    ran = 0
    for frame in frames:
        try:
            verdict = run(frame)
        except OSError:
            continue
        ran += 1
        assert rig.plane._reasons.sum() == ran, frame.hex()
        judge(frame, verdict)
    assert ran >= wanted
    return rig.counts()


def outer_frames(rig: Rig, bonds: list[Bond]) -> list[bytes]:
    frames = []
    for bond in bonds:
        session = bond.pair.rx.number
        replies = {0: (packets.SERVER4, packets.SERVER6), 1: (packets.OTHER4, packets.OTHER6)}[bond.index]
        for number, path in enumerate(bond.setup.paths):
            for inner in (packets.reply4(40, src=replies[0]), packets.reply6(40, src=replies[1])):
                frames.append(packets.data(path.family, session, inner, number=number))
                frames.append(packets.copy(path.family, session, COPY_NUMBER, inner, number=number))
            frames.append(probes.frame(bond, Probe(number=number, sequence=number), path=number))
            frames.append(probes.frame(bond, answer(rig, 1, number=number), path=number))
    return frames


@pytest.mark.parametrize("hook", ["rx_tc", "rx_xdp"])
def test_rx(rig: Rig, hook: str) -> None:
    bonds = [rig.bond(US), rig.bond(OTHER)]
    rig.learn(bonds[0])
    is_xdp = hook == "rx_xdp"
    redirect = XDP_REDIRECT if is_xdp else REDIRECT
    known = {XDP_REDIRECT, XDP_DROP, XDP_PASS} if is_xdp else {REDIRECT, SHOT, UNSPEC}

    def judge(frame: bytes, verdict: int) -> None:
        assert verdict in known, frame.hex()
        assert verdict != redirect or may_come_in(frame, bonds), frame.hex()

    run = rig.fast(hook, 0 if is_xdp else rig.lab.ifindex["wan0"])
    frames = mutated(2024, outer_frames(rig, bonds), RX_PACKETS)
    counts = run_all(rig, run, frames, judge, RX_PACKETS * 9 // 10)
    assert counts["rx_delivered"] > RX_PACKETS // 50
    reached = {"rx_not_ours", "rx_truncated", "rx_bad_version", "rx_bad_type", "rx_unknown_session"}
    reached |= {"rx_inner_malformed", "rx_source_not_allowed", "rx_fragment", "rx_duplicate"}
    reached |= (
        {"rx_to_tc"} if is_xdp else {"rx_bad_mac", "rx_stale_answer", "rx_probe_answered", "rx_answer_taken"}
    )
    assert reached <= counts.keys()


@pytest.mark.parametrize("bit", range(64))
def test_session_number_one_bit_off(rig: Rig, bit: int) -> None:
    bond = rig.bond(US)
    session = (int.from_bytes(bond.pair.rx.number, "big") ^ 1 << bit).to_bytes(8, "big")
    frame = packets.data(4, session, packets.reply4(8))
    assert rig.run("rx_tc", frame).reason == rig.run("rx_xdp", frame).reason == "rx_unknown_session"


@pytest.mark.parametrize("policy", ONE_PACKET_EACH)
def test_tx(rig: Rig, policy: abi.PolicyCode) -> None:
    bonds = [rig.bond(replace(setup, policy=policy, packets_per_link=5)) for setup in (US, OTHER)]
    allowed = [ip_network(prefix) for bond in bonds for prefix in bond.setup.allowed]
    inner = [packets.tcp4(), packets.tcp6(), packets.udp4(), packets.icmp4(), packets.icmp6()]
    inner += [
        packets.fragment4(0, 7),
        packets.fragment4(64, 7),
        packets.fragment6(0, 7),
        packets.fragment6(9, 7),
    ]
    inner += [packets.extended6(), packets.options4(), packets.tcp4(dst=packets.OTHER4), packets.arp()]

    def judge(frame: bytes, verdict: int) -> None:
        assert verdict in (REDIRECT, SHOT), frame.hex()
        if verdict == REDIRECT:
            at = {b"\x08\0": (30, 34), b"\x86\xdd": (38, 54)}[frame[12:14]]
            assert any(ip_address(frame[slice(*at)]) in prefix for prefix in allowed), frame.hex()

    run = rig.fast("tx", rig.lab.far)
    frames = mutated(7, [packets.ether(one) for one in inner], TX_PACKETS)
    counts = run_all(rig, run, frames, judge, TX_PACKETS * 8 // 10)
    assert counts["tx_sent"] > TX_PACKETS // 10
    assert {"tx_not_ip", "tx_malformed", "tx_no_peer"} <= counts.keys()
    assert sum(sum(rig.path_packets(bond)) for bond in bonds) == counts["tx_sent"]
