"""Emulated wires: what happens to packets is what was asked for and what the log says.

Times are compared with the log's and not with the wish alone where the machine's own
pauses would show: what is measured with an emulated wire has to be compared likewise.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from mpbond.lab import emulator, traffic
from mpbond.lab.bonds import Bonds, inner_address, pair
from mpbond.lab.emulator import EmulationLog, EmulatorError, in_namespace
from mpbond.lab.netns import Lab, LabError, namespaces, wait_for
from mpbond.lab.schedule import Impairment
from mpbond.lab.topology import Topology, link_address, two_hosts
from tests.netns.conftest import path_on, xor
from tests.netns.test_leftovers import nothing_left

pytestmark = [pytest.mark.root, pytest.mark.netns]
MakeEmulated = Callable[..., Lab]

# Ethernet, IPv4 and UDP headers; a stream's packet has 16 bytes of payload.
HEADERS = 14 + 20 + 8
STREAM_FRAME = HEADERS + 16
_SO_NO_CHECK = 11
_SO_RCVBUFFORCE = 33  # asm-generic/socket.h: beyond rmem_max, as all is sent before any is read
PORT = 6000
DELAYS = {"eth1": 10, "eth2": 30}


@pytest.fixture
def emulated() -> Iterator[MakeEmulated]:
    """Hosts a and b with emulated wires, by the relay also where there is netem."""
    with ExitStack() as stack:

        def make(links: int = 1) -> Lab:
            return stack.enter_context(Lab(two_hosts(links).emulated(), emulator="relay"))

        yield make


def round_trip_ms(lab: Lab, count: int = 20, version: int = 4) -> float:
    """The fastest: what a busy machine adds is not the wire's."""
    words = ["ping", "-c", str(count), "-i", "0.02", link_address(1, 2, version)]
    times = re.findall(r"time=([\d.]+) ms", lab.run("a", words))
    assert len(times) == count
    return min(map(float, times[1:]))


def streamed(
    lab: Lab, count: int, interval_us: int = 1000
) -> tuple[EmulationLog, npt.NDArray[np.void], list[tuple[int, int]]]:
    """The log of a stream from a to b over eth1, its packets' records in the order of
    their numbers, and (number, stamp) of those that arrived."""
    with lab.emulation_log("eth1") as log:
        address = link_address(1, 2)
        with traffic.stream(lab, "a", "b", address, count=count, interval_us=interval_us) as stream:
            stream.finish()
        arrivals = stream.arrivals
    assert log.missed == 0
    records = log.of("a->b")
    records = records[records["length"] == STREAM_FRAME]
    assert len(records) == count
    return log, records, arrivals


@contextmanager
def udp_pair(lab: Lab) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A sender on a, whose packets have no checksum as the bond's have none, and a
    receiver on b."""

    def make() -> socket.socket:
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    with in_namespace(lab.ns("a"), make) as sender, in_namespace(lab.ns("b"), make) as receiver:
        sender.setsockopt(socket.SOL_SOCKET, _SO_NO_CHECK, 1)
        sender.connect((link_address(1, 2), PORT))
        receiver.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 22)
        receiver.bind((link_address(1, 2), PORT))
        receiver.settimeout(1)
        yield sender, receiver


def received(receiver: socket.socket) -> list[bytes]:
    """Until there is silence."""
    packets: list[bytes] = []
    while True:
        try:
            packets.append(receiver.recv(2048))
        except TimeoutError:
            return packets


# ---- time -----------------------------------------------------------------------------


@pytest.mark.parametrize("delay_ms", [0, 3, 25])
@pytest.mark.parametrize("version", [4, 6])
def test_a_round_trip_takes_twice_the_delay(emulated: MakeEmulated, delay_ms: float, version: int) -> None:
    lab = emulated()
    lab.emulate("eth1", delay_ms=delay_ms)
    assert round_trip_ms(lab, version=version) == pytest.approx(2 * delay_ms, abs=0.5)


def test_a_direction_has_its_own_delay(emulated: MakeEmulated) -> None:
    lab = emulated()
    lab.emulate("eth1", "a->b", delay_ms=20)
    lab.emulate("eth1", "b->a", delay_ms=5)
    with lab.emulation_log("eth1") as log:
        assert round_trip_ms(lab) == pytest.approx(25, abs=0.5)
    assert np.median(log.delays_ms("a->b")) == pytest.approx(20, abs=0.3)
    assert np.median(log.delays_ms("b->a")) == pytest.approx(5, abs=0.3)


def test_jitter_as_it_arrives_is_what_the_log_says(emulated: MakeEmulated) -> None:
    lab = emulated()
    lab.emulate("eth1", "a->b", delay_ms=20, jitter_ms=3, seed=5)
    _, records, arrivals = streamed(lab, 1500)
    sent_ns = records["in_ns"]
    measured = np.array([stamp - sent_ns[number] for number, stamp in arrivals]) / 1e6
    told = (records["out_ns"] - sent_ns) / 1e6
    meant = (records["due_ns"] - sent_ns) / 1e6
    assert meant.std() == pytest.approx(3, rel=0.1)
    assert told.std() == pytest.approx(meant.std(), rel=0.15)
    assert measured.std() == pytest.approx(told.std(), rel=0.15)
    assert np.median(measured) == pytest.approx(20, abs=0.5)


def test_what_is_due_is_sent_in_time(emulated: MakeEmulated) -> None:
    """By the relay's own clock; the median, as the machine pauses now and then."""
    lab = emulated()
    lab.emulate("eth1", delay_ms=10)
    _, records, _ = streamed(lab, 1000)
    late_ms = (records["out_ns"] - records["due_ns"]) / 1e6
    assert late_ms.min() >= -0.06
    assert abs(np.median(late_ms)) < 0.3


def test_reordered_packets_overtake(emulated: MakeEmulated) -> None:
    lab = emulated()
    lab.emulate("eth1", "a->b", delay_ms=10, reorder=10)
    _, records, arrivals = streamed(lab, 500)
    skipped = records["due_ns"] == records["in_ns"]
    assert 20 <= skipped.sum() <= 80
    assert len(arrivals) == 500
    by_due = np.argsort(records["due_ns"], kind="stable").tolist()
    overtaken = (np.array(by_due) < np.maximum.accumulate(by_due)).sum()
    assert overtaken > 100, "each is ahead of ten others"
    told = sum(a != b for a, b in zip((number for number, _ in arrivals), by_due, strict=True))
    assert told <= 50, "but for near ties"


def test_a_change_takes_effect_while_packets_flow(emulated: MakeEmulated) -> None:
    """For each packet that comes after it, and no other."""
    lab = emulated()
    marks = []
    with lab.emulation_log("eth1") as log, traffic.stream(lab, "a", "b", link_address(1, 2)) as stream:
        for delay_ms in (5, 40, 1):
            signal.sigtimedwait(set(), 0.2)
            lab.emulate("eth1", delay_ms=delay_ms)
            marks.append(time.time_ns())
        signal.sigtimedwait(set(), 0.2)
        assert stream.stop().lost == 0
    records = log.of("a->b", "passed")
    meant_ms = (records["due_ns"] - records["in_ns"]) / 1e6
    for mark, delay_ms in zip(marks, (5, 40, 1), strict=True):
        within = (records["in_ns"] > mark) & (records["in_ns"] < mark + 190_000_000)
        assert within.sum() > 100
        assert set(meant_ms[within].tolist()) == {float(delay_ms)}


# ---- loss, rate, damage ---------------------------------------------------------------


def test_just_those_packets_are_lost_that_the_log_says(emulated: MakeEmulated) -> None:
    lab = emulated()
    lab.emulate("eth1", "a->b", delay_ms=5, loss=10)
    log, records, arrivals = streamed(lab, 2000, interval_us=200)
    lost = np.flatnonzero(records["verdict"] != 0).tolist()
    assert 145 <= len(lost) <= 255, "four standard deviations"
    assert len(log.of("a->b", "loss")) >= len(lost)
    assert sorted({number for number, _ in arrivals} | set(lost)) == list(range(2000))
    assert len(arrivals) == 2000 - len(lost)


def test_a_seed_loses_the_same_packets_again(emulated: MakeEmulated) -> None:
    lab = emulated()
    lost = []
    traffic.ping(lab, "a", link_address(1, 2))
    for seed in (3, 3, 4):
        with udp_pair(lab) as (sender, receiver):
            lab.emulate("eth1", "a->b", loss=30, seed=seed)
            for number in range(100):
                sender.send(bytes([number]))
            lost.append(set(range(100)) - {packet[0] for packet in received(receiver)})
    assert lost[0] == lost[1] != lost[2]


def test_a_rate_is_kept_and_what_does_not_fit_is_dropped_at_its_queue(emulated: MakeEmulated) -> None:
    lab = emulated()
    lab.emulate("eth1", "a->b", rate_mbit=20, queue_ms=10)
    with traffic.iperf_server(lab, "b"), lab.emulation_log("eth1") as log:
        data = traffic.iperf(lab, "a", link_address(1, 2), seconds=2, options="-u -b 40M -l 1400")
        signal.sigtimedwait(set(), 0.1)
    end = data["end"]["sum"]
    packets = log.of("a->b")
    packets = packets[packets["length"] == 1400 + HEADERS]
    dropped = packets["verdict"] == 2
    # iperf3 does not see the loss of its last packets.
    assert dropped.sum() == pytest.approx(end["lost_packets"], rel=0.01)
    assert dropped.mean() == pytest.approx(0.5, abs=0.05)
    passed = packets[~dropped]
    assert (passed["due_ns"] - passed["in_ns"]).max() <= 10e6
    took_s = (passed["due_ns"].max() - passed["due_ns"].min()) / 1e9
    assert passed["length"].sum() * 8 / took_s / 1e6 == pytest.approx(20, rel=0.03)


def test_damage_is_one_bit_of_the_payload_where_the_log_says(emulated: MakeEmulated) -> None:
    """Ports, addresses and lengths are whole, or the packets would not arrive."""
    lab = emulated()
    traffic.ping(lab, "a", link_address(1, 2))
    lab.emulate("eth1", "a->b", corrupt=40)
    with udp_pair(lab) as (sender, receiver), lab.emulation_log("eth1") as log:
        for number in range(200):
            sender.send(number.to_bytes(2) + bytes(998))
        packets = received(receiver)
    records = log.of("a->b", "passed")
    bits = records["bit"][records["length"] == HEADERS + 1000].tolist()
    assert len(packets) == len(bits) == 200
    assert 50 <= sum(bit >= 0 for bit in bits) <= 110
    for number, (packet, bit) in enumerate(zip(packets, bits, strict=True)):
        sent = bytearray(number.to_bytes(2) + bytes(998))
        if bit >= 0:
            sent[bit // 8 - HEADERS] ^= 1 << (bit % 8)
        assert packet == bytes(sent)


# ---- throughput -----------------------------------------------------------------------


def test_a_wire_carries_a_hundred_megabit_of_1400_byte_packets(emulated: MakeEmulated) -> None:
    lab = emulated()
    lab.emulate("eth1", delay_ms=20)
    with traffic.iperf_server(lab, "b"), lab.emulation_log("eth1") as log:
        traffic.iperf(lab, "a", link_address(1, 2), seconds=3, options="-u -b 110M -l 1400")
        signal.sigtimedwait(set(), 0.1)
    packets = log.of("a->b")
    packets = packets[packets["length"] == 1400 + HEADERS]
    passed = packets[packets["verdict"] == 0]
    took_s = (passed["out_ns"].max() - passed["out_ns"].min()) / 1e9
    assert passed["length"].sum() * 8 / took_s / 1e6 >= 100
    assert len(packets) - len(passed) + log.missed < 0.001 * len(packets)


@pytest.mark.parametrize("version", [4, 6])
def test_tcp_works_as_every_packet_is_whole(emulated: MakeEmulated, version: int) -> None:
    """No super-packets, no checksums left to be filled in by a card that is not there."""
    lab = emulated()
    lab.emulate("eth1", delay_ms=2)
    with traffic.iperf_server(lab, "b"), lab.emulation_log("eth1") as log:
        mbit = traffic.tcp_bps(lab, "a", link_address(1, 2, version), seconds=2) / 1e6
    assert mbit > 100
    assert log.records["length"].max() == 1514
    assert not len(log.of("a->b", "long")) and not len(log.of("b->a", "long"))


# ---- with the rest of the lab ---------------------------------------------------------


def test_cut_lose_and_restore_work_and_leave_the_impairment(emulated: MakeEmulated) -> None:
    lab = emulated(2)
    lab.emulate("eth1", delay_ms=5)
    for end in (1, 2):
        traffic.ping(lab, "a", link_address(end, 2))
    lab.cut("eth1", "a->b")
    assert not traffic.ping(lab, "a", link_address(1, 2))
    assert traffic.ping(lab, "a", link_address(2, 2)), "the other wire notices nothing"
    assert "LOWER_UP" in lab.run("a", ["ip", "link", "show", "eth1"])
    lab.restore("eth1", "a->b")
    assert round_trip_ms(lab) == pytest.approx(10, abs=0.5)
    lab.lose("eth1", 100)
    assert not traffic.ping(lab, "a", link_address(1, 2))
    lab.restore("eth1")
    assert round_trip_ms(lab) == pytest.approx(10, abs=0.5)


def test_a_cut_takes_what_is_on_its_way(emulated: MakeEmulated) -> None:
    """Nothing arrives after it, however long the delay; the log says why."""
    lab = emulated()
    traffic.ping(lab, "a", link_address(1, 2))
    lab.emulate("eth1", delay_ms=500)
    with udp_pair(lab) as (sender, receiver), lab.emulation_log("eth1") as log:
        for _ in range(10):
            sender.send(bytes(100))
        wait_for("ten on their way", lambda: lab.emulation("eth1")["directions"]["a->b"]["held"] >= 10)
        lab.cut("eth1")
        assert lab.emulation("eth1")["directions"]["a->b"]["held"] == 0
        assert received(receiver) == []
    assert len(log.of("a->b", "cut")) >= 10


def test_shape_sets_rate_and_queue_alone(emulated: MakeEmulated) -> None:
    lab = emulated()
    lab.emulate("eth1", delay_ms=5)
    lab.shape("eth1", 30)
    with traffic.iperf_server(lab, "b"):
        assert traffic.tcp_bps(lab, "a", link_address(1, 2), seconds=3) / 1e6 == pytest.approx(28, rel=0.15)
    wait_for("a short queue again", lambda: 9.5 < round_trip_ms(lab, 5) < 12)


def test_a_carrier_goes_and_returns(emulated: MakeEmulated) -> None:
    """The relay outlives its ends being down."""
    lab = emulated()
    lab.carrier("eth1", "a", False)
    assert "NO-CARRIER" in lab.run("a", ["ip", "link", "show", "eth1"])
    assert not traffic.ping(lab, "b", link_address(1, 1))
    lab.carrier("eth1", "a", True)
    wait_for("eth1 works again", lambda: traffic.ping(lab, "a", link_address(1, 2)))


def test_a_bond_measures_the_delays_there_are(emulated: MakeEmulated, tmp_path: Path) -> None:
    """By its own probes, over wires of 10 and 30 ms; TCP goes through it."""
    lab = emulated(2)
    for wire, delay_ms in DELAYS.items():
        lab.emulate(wire, delay_ms=delay_ms)
    bonds = Bonds(lab, tmp_path)
    bonds.up(*pair(*([link_address(link, end) for link in (1, 2)] for end in (1, 2)), xor(500)))
    bonds.wait_eligible("a", "b", 2)
    signal.sigtimedwait(set(), 3)
    shown = bonds.show("a", "b")
    for wire, delay_ms in DELAYS.items():
        assert path_on(shown, wire)["latencyMean"] == pytest.approx(delay_ms, abs=0.5)
    with traffic.iperf_server(lab, "b"):
        assert traffic.tcp_bps(lab, "a", inner_address("b"), seconds=2) / 1e6 > 20
    bonds.down("a", "b")


@pytest.mark.parametrize(
    "impairment",
    [
        Impairment(),
        Impairment(delay_ms=20.5, jitter_ms=2, loss=0.5, rate_mbit=10, queue_ms=30, reorder=3, corrupt=2),
    ],
    ids=["nothing", "everything"],
)
def test_tc_takes_the_words_for_netem(make_lab: Callable[[Topology], Lab], impairment: Impairment) -> None:
    """Whether the kernel does is another question: one without netem says so, in words
    that tc has only for what it could parse."""
    lab = make_lab(two_hosts(1))
    tc = ["tc", "qdisc", "replace", "dev", "lo", "root", "handle", "1:"]
    try:
        lab.run("a", [*tc, *emulator.netem_words(impairment)])
    except LabError as error:
        assert "Specified qdisc kind is unknown" in str(error)
    else:
        assert "netem" in lab.run("a", ["tc", "qdisc", "show", "dev", "lo"])


def test_by_itself_a_lab_takes_the_emulator_it_can_have(make_lab: Callable[[Topology], Lab]) -> None:
    """netem where the kernel has it, and the same to those who use the wire."""
    lab = make_lab(two_hosts(1).emulated())
    assert lab.emulator in ("netem", "relay")
    lab.emulate("eth1", delay_ms=20)
    assert round_trip_ms(lab) == pytest.approx(40, abs=0.5)
    lab.shape("eth1", 50)
    assert round_trip_ms(lab) == pytest.approx(40, abs=1)
    lab.emulate("eth1", "a->b", loss=100)
    assert not traffic.ping(lab, "a", link_address(1, 2))
    lab.emulate("eth1")
    assert round_trip_ms(lab) < 1


def test_a_dead_relay_is_said_and_goes_with_the_lab() -> None:
    with nothing_left() as made, Lab(two_hosts(2).emulated(), emulator="relay") as lab:
        pids = command_pids(lab)
        assert len(pids) == 2
        made.append(frozenset(f"namespace {name}" for name in namespaces(lab.ns(""))))
        os.kill(pids[0], signal.SIGKILL)
        wait_for("one relay gone", lambda: len(command_pids(lab)) == 1)
        answers = [is_answering(lab, wire) for wire in ("eth1", "eth2")]
        assert sorted(answers) == [False, True]
    assert command_pids(lab) == []


def command_pids(lab: Lab) -> list[int]:
    """What runs in the lab's middle."""
    done = subprocess.run(["ip", "netns", "pids", lab.ns("mid")], capture_output=True, text=True, check=False)
    return [int(pid) for pid in done.stdout.split()]


def is_answering(lab: Lab, wire: str) -> bool:
    try:
        lab.emulate(wire, delay_ms=1)
    except EmulatorError as error:
        assert f"the emulator of {wire} does not answer: has it died?" in str(error)
        return False
    return True
