"""What two ends' wishes come to, and what is policed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpbond.limits import KIB, NS_PER_S, Rates, rates, recv_burst_ns, recv_ns_per_mib

KBPS = st.integers(0, 2**31 - 1)


@pytest.mark.parametrize(
    ("why", "send", "recv", "heard", "found"),
    [
        ("no limit", 0, 0, None, Rates()),
        ("no limit at either end", 0, 0, 0, Rates(agreed=True)),
        ("ours alone", 100, 0, None, Rates(100)),
        ("ours is lower", 100, 0, 200, Rates(100, agreed=True)),
        ("the peer's is lower", 200, 0, 100, Rates(100, by_peer=True, agreed=True)),
        ("the peer's alone", 0, 0, 100, Rates(100, by_peer=True, agreed=True)),
        ("the same", 100, 0, 100, Rates(100, agreed=True)),
        ("what we want to receive is no limit of ours", 0, 50, None, Rates(recv_kbps=50)),
    ],
)
def test_rates(why: str, send: int, recv: int, heard: int | None, found: Rates) -> None:
    assert rates(send, recv, heard) == found


@given(KBPS, KBPS, st.none() | KBPS)
def test_nobody_sends_more_than_either_end_wants(send: int, recv: int, heard: int | None) -> None:
    found = rates(send, recv, heard)
    for wish in (send, heard):
        assert not wish or 0 < found.send_kbps <= wish
    assert bool(found.send_kbps) == bool(send or heard)


@given(st.integers(1, 2**31 - 1), st.booleans())
def test_what_is_policed_is_the_rate_and_where_agreed_a_little_more(kbps: int, agreed: bool) -> None:
    policed = (1 << 20) * NS_PER_S / recv_ns_per_mib(Rates(recv_kbps=kbps, agreed=agreed)) / KIB
    wanted = kbps * (1.05 if agreed else 1.0)
    # A whole number of ns for each MiB: exact enough up to 100 Gbit/s.
    assert kbps > 10_000_000 or policed == pytest.approx(wanted, rel=0.01)


def test_a_burst_is_a_tenth_of_a_second_or_some_super_packets() -> None:
    assert recv_burst_ns(Rates(recv_kbps=1_000_000)) == NS_PER_S // 10
    assert recv_burst_ns(Rates(recv_kbps=256)) == NS_PER_S
    assert (recv_burst_ns(Rates()), recv_ns_per_mib(Rates())) == (0, 0)
