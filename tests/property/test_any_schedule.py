"""Whatever comes and however the wire is set: what an emulated wire may never do."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mpbond.lab.schedule import INTACT, PASSED, QUEUE, Impairment, Schedule

# Gaps between arrivals in ns (often none), and lengths of frames.
ARRIVALS = st.lists(
    st.tuples(st.one_of(st.just(0), st.integers(0, 5_000_000)), st.integers(60, 1514)), max_size=200
)
RATES = st.floats(0.1, 1000)
QUEUES = st.floats(0, 100)
SEEDS = st.integers(0, 1000).map(str)
EXAMPLES = settings(max_examples=100, deadline=None, database=None)


def played(schedule: Schedule, arrivals: list[tuple[int, int]]) -> list[tuple[int, int, int, int]]:
    """(arrival, length, verdict, due) of each packet."""
    times = itertools.accumulate(gap for gap, _ in arrivals)
    return [
        (at, length, *schedule.offer(at, length)[:2]) for at, (_, length) in zip(times, arrivals, strict=True)
    ]


def scheduled(seed: str, **impairments: Any) -> Schedule:
    schedule = Schedule(seed)
    schedule.change(Impairment(**impairments))
    return schedule


@given(ARRIVALS, SEEDS, st.floats(0, 1000), st.floats(0, 100), st.one_of(st.just(0.0), RATES))
@EXAMPLES
def test_first_come_first_served_without_jitter_and_reordering(
    arrivals: list[tuple[int, int]], seed: str, delay: float, loss: float, rate: float
) -> None:
    fates = played(scheduled(seed, delay_ms=delay, loss=loss, rate_mbit=rate), arrivals)
    dues = [due for _, _, verdict, due in fates if verdict == PASSED]
    assert dues == sorted(dues)


@given(ARRIVALS, SEEDS, RATES, QUEUES, st.floats(0, 100))
@EXAMPLES
def test_the_rate_is_never_exceeded(
    arrivals: list[tuple[int, int]], seed: str, rate: float, queue: float, delay: float
) -> None:
    """Each packet after its predecessor has had the line for its own time: so over
    any stretch of packets the rate holds too."""
    fates = played(scheduled(seed, rate_mbit=rate, queue_ms=queue, delay_ms=delay), arrivals)
    passed = [(due, length) for _, length, verdict, due in fates if verdict == PASSED]
    for (before, _), (after, length) in itertools.pairwise(passed):
        assert after - before >= length * 8000 / rate - 1


@given(ARRIVALS, SEEDS, RATES, QUEUES)
@EXAMPLES
def test_the_queue_is_bounded_and_never_refuses_in_vain(
    arrivals: list[tuple[int, int]], seed: str, rate: float, queue: float
) -> None:
    free = 0
    for at, length, verdict, due in played(scheduled(seed, rate_mbit=rate, queue_ms=queue), arrivals):
        waits, sends = max(0, free - at), length * 8000 / rate
        if verdict == QUEUE:
            assert waits > 0 and waits + sends + 1 > queue * 1e6
        else:
            assert due - at <= max(queue * 1e6, sends + 1)
            free = due


@given(ARRIVALS, SEEDS, st.floats(0, 100), st.floats(0, 100), st.floats(0, 100), st.floats(0, 50))
@EXAMPLES
def test_no_packet_leaves_before_it_came_and_the_same_seed_repeats_it(
    arrivals: list[tuple[int, int]], seed: str, loss: float, reorder: float, corrupt: float, jitter: float
) -> None:
    impaired = {"delay_ms": 5.0, "jitter_ms": jitter, "loss": loss, "reorder": reorder, "corrupt": corrupt}
    fates = played(scheduled(seed, **impaired), arrivals)
    assert all(due >= at for at, _, _, due in fates)
    assert played(scheduled(seed, **impaired), arrivals) == fates


@given(SEEDS, st.floats(0, 100))
@EXAMPLES
def test_flips_are_within_the_payload(seed: str, corrupt: float) -> None:
    schedule = scheduled(seed, corrupt=corrupt)
    flips = [schedule.offer(at, 100)[2] for at in range(200)]
    assert all(flip == INTACT or 0 <= flip < 1 for flip in flips)


@given(SEEDS, st.floats(0, 100))
@EXAMPLES
def test_losses_stay_near_their_ratio(seed: str, loss: float) -> None:
    """Six standard deviations: no luck of a seed goes so far."""
    count, share = 5000, loss / 100
    fates = played(scheduled(seed, loss=loss), [(1000, 100)] * count)
    lost = sum(verdict != PASSED for _, _, verdict, _ in fates)
    assert abs(lost - count * share) <= 6 * (count * share * (1 - share)) ** 0.5 + 1
