"""What an emulated wire decides, packet by packet, with no clock and no packets."""

from __future__ import annotations

import itertools
import statistics
from ipaddress import ip_address

import pytest

from mpbond.errors import UsageError
from mpbond.lab.schedule import (
    CUT,
    INTACT,
    LOSS,
    PASSED,
    QUEUE,
    Impairment,
    Schedule,
    flipped,
    payload_at,
)

MS = 1_000_000
MANY = 20_000


def scheduled(seed: str = "1", **impairments: float) -> Schedule:
    schedule = Schedule(seed)
    schedule.change(Impairment(**impairments))
    return schedule


def offered(schedule: Schedule, count: int, every_ns: int = MS, length: int = 1000) -> list[tuple[int, int]]:
    """(verdict, how long it stays in ns) of a steady stream."""
    fates = ((at, schedule.offer(at, length)) for at in range(0, count * every_ns, every_ns))
    return [(verdict, due_ns - at) for at, (verdict, due_ns, _) in fates]


def test_an_unimpaired_wire_passes_all_at_once() -> None:
    assert offered(scheduled(), 100) == [(PASSED, 0)] * 100


def test_delay_is_exact_without_jitter() -> None:
    assert offered(scheduled(delay_ms=12.5), 100) == [(PASSED, 12_500_000)] * 100


def test_jitter_is_normal_with_the_delay_as_mean() -> None:
    stays = [stay / MS for _, stay in offered(scheduled(delay_ms=20, jitter_ms=3), MANY)]
    assert statistics.mean(stays) == pytest.approx(20, abs=0.1)
    assert statistics.stdev(stays) == pytest.approx(3, rel=0.03)
    within_one = sum(17 <= stay <= 23 for stay in stays) / MANY
    assert within_one == pytest.approx(0.683, abs=0.02)


def test_jitter_never_makes_a_packet_leave_before_it_came() -> None:
    assert min(stay for _, stay in offered(scheduled(delay_ms=1, jitter_ms=5), MANY)) == 0


@pytest.mark.parametrize("percent", [0.5, 10, 50, 100])
def test_loss_is_at_its_ratio(percent: float) -> None:
    lost = sum(verdict == LOSS for verdict, _ in offered(scheduled(loss=percent), MANY))
    four_deviations = 4 * (MANY * percent / 100 * (1 - percent / 100)) ** 0.5
    assert abs(lost - MANY * percent / 100) <= four_deviations


def test_losses_of_the_gate_come_on_top() -> None:
    schedule = scheduled(loss=50)
    schedule.gate(is_cut=False, lose=50)
    lost = sum(verdict == LOSS for verdict, _ in offered(schedule, MANY))
    assert lost / MANY == pytest.approx(0.75, abs=0.02)


def test_the_end_of_a_cut_leaves_the_impairment() -> None:
    schedule = scheduled(delay_ms=5)
    schedule.gate(is_cut=True, lose=0)
    assert {verdict for verdict, _ in offered(schedule, 10)} == {CUT}
    schedule.gate(is_cut=False, lose=0)
    assert offered(schedule, 10) == [(PASSED, 5 * MS)] * 10


def test_a_line_sends_one_packet_after_the_other() -> None:
    """1,000 bytes at 8 Mbit/s take 1 ms; three come at once."""
    schedule = scheduled(rate_mbit=8, queue_ms=100)
    dues = [schedule.offer(0, 1000)[1] for _ in range(3)]
    assert dues == pytest.approx([1 * MS, 2 * MS, 3 * MS], abs=10)


def test_a_full_queue_drops_the_last_that_came_and_recovers() -> None:
    schedule = scheduled(rate_mbit=8, queue_ms=2.5)
    assert [schedule.offer(0, 1000)[0] for _ in range(4)] == [PASSED, PASSED, QUEUE, QUEUE]
    assert schedule.offer(int(1.6 * MS), 1000)[0] == PASSED


def test_an_idle_line_takes_a_packet_however_short_the_queue() -> None:
    schedule = scheduled(rate_mbit=1, queue_ms=0)
    assert schedule.offer(0, 1500)[0] == PASSED
    assert schedule.offer(0, 1500)[0] == QUEUE


def test_what_is_lost_takes_nothing_of_the_rate() -> None:
    schedule = scheduled(rate_mbit=8, queue_ms=0.5)
    schedule.gate(is_cut=False, lose=100)
    assert {verdict for verdict, _ in offered(schedule, 50, every_ns=1)} == {LOSS}
    schedule.gate(is_cut=False, lose=0)
    assert schedule.offer(0, 1000)[0] == PASSED


def test_reordered_packets_skip_the_delay_and_not_the_line() -> None:
    stays = [stay for _, stay in offered(scheduled(delay_ms=10, reorder=25, rate_mbit=80), MANY)]
    line_ns = int(0.1 * MS) + 1
    assert set(stays) == {line_ns, line_ns + 10 * MS}
    assert stays.count(line_ns) / MANY == pytest.approx(0.25, abs=0.02)


def test_corrupt_says_where_and_how_often() -> None:
    schedule = scheduled(corrupt=20)
    flips = [schedule.offer(at, 100)[2] for at in range(MANY)]
    damaged = [flip for flip in flips if flip != INTACT]
    assert len(damaged) / MANY == pytest.approx(0.2, abs=0.02)
    assert all(0 <= flip < 1 for flip in damaged)
    assert statistics.mean(damaged) == pytest.approx(0.5, abs=0.03)


EVERYTHING = {
    "delay_ms": 5,
    "jitter_ms": 2,
    "loss": 10,
    "rate_mbit": 9,
    "reorder": 10,
    "corrupt": 10,
}


def test_the_same_seed_gives_the_same_fates() -> None:
    one, same, other = (offered(scheduled(seed, **EVERYTHING), 500) for seed in ("1", "1", "2"))
    assert one == same
    assert one != other


def test_seeding_again_starts_the_draws_anew() -> None:
    schedule = scheduled("1", loss=30)
    first = offered(schedule, 200)
    assert offered(schedule, 200) != first
    schedule.seed("1")
    assert offered(schedule, 200) == first


def test_which_packets_are_lost_does_not_depend_on_the_rest() -> None:
    alone = [verdict for verdict, _ in offered(scheduled(loss=30), 500)]
    along = [verdict for verdict, _ in offered(scheduled(loss=30, jitter_ms=2, corrupt=5, reorder=3), 500)]
    assert alone == along


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("loss", 101, "loss 101: wanted 0 to 100"),
        ("delay_ms", -1, "delay_ms -1: wanted 0 to 60000"),
        ("rate_mbit", 0.0001, "rate_mbit 0.0001: wanted 0.001 to 100000"),
        ("jitter_ms", float("nan"), "jitter_ms nan"),
    ],
)
def test_values_out_of_range_are_refused(name: str, value: float, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Impairment(**{name: value})


# ---- damage ---------------------------------------------------------------------------

V4, V6 = (ip_address(address).packed * 2 for address in ("10.0.0.1", "fd00::1"))
MACS = bytes(12)


def ipv4(protocol: int, payload: bytes, options: bytes = b"") -> bytes:
    first = bytes([0x45 + len(options) // 4])
    return MACS + b"\x08\x00" + first + bytes(8) + bytes([protocol]) + bytes(2) + V4 + options + payload


def ipv6(following: int, payload: bytes) -> bytes:
    return MACS + b"\x86\xdd\x60" + bytes(5) + bytes([following, 64]) + V6 + payload


FRAMES = [
    ("UDP over IPv4", ipv4(17, bytes(8 + 100)), 42),
    ("with IP options", ipv4(17, bytes(8 + 100), options=bytes(8)), 50),
    ("ICMP", ipv4(1, bytes(40)), 34),
    ("UDP over IPv6", ipv6(17, bytes(8 + 100)), 62),
    ("ICMPv6", ipv6(58, bytes(40)), 54),
]


@pytest.mark.parametrize(("frame", "start"), [case[1:] for case in FRAMES], ids=[case[0] for case in FRAMES])
def test_one_bit_of_the_payload_is_flipped_and_nothing_else(frame: bytes, start: int) -> None:
    assert payload_at(frame) == start
    for flip in (0.0, 0.37, 0.999999):
        damaged, bit = flipped(frame, flip)
        differing = [at for at, (old, new) in enumerate(zip(frame, damaged, strict=True)) if old != new]
        assert differing == [bit // 8]
        assert damaged[bit // 8] ^ frame[bit // 8] == 1 << (bit % 8)
        assert start <= bit // 8 < len(frame)


def test_every_bit_of_the_payload_can_be_hit() -> None:
    frame = ipv4(17, bytes(8 + 4))
    bits = {flipped(frame, step / 64)[1] for step in range(64)}
    assert bits == set(range(42 * 8, 46 * 8))


@pytest.mark.parametrize("frame", [MACS + b"\x08\x06" + bytes(28), ipv4(17, bytes(8))], ids=["ARP", "empty"])
def test_what_has_no_payload_stays_as_it_is(frame: bytes) -> None:
    assert flipped(frame, 0.5) == (frame, -1)


def test_a_change_leaves_what_was_taken_before() -> None:
    """The line goes on from where it was: no packet overtakes at a change of rate."""
    schedule = scheduled(rate_mbit=8, queue_ms=1000)
    dues = [schedule.offer(0, 1000)[1] for _ in range(5)]
    schedule.change(Impairment(rate_mbit=80, queue_ms=1000))
    dues += [schedule.offer(0, 1000)[1] for _ in range(5)]
    gaps = [after - before for before, after in itertools.pairwise(dues)]
    assert gaps == pytest.approx([1 * MS] * 4 + [0.1 * MS] * 5, abs=10)
