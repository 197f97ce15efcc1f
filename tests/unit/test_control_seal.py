"""Frames sealed under a session: each is opened once, and only as it was made."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpbond.control_frames import ControlError
from mpbond.control_seal import WINDOW, Opener, Sealer
from mpbond.sessions import KEY_BYTES, derive, from_keys
from mpbond.wire import HEADER_LEN, TYPE_CONTROL, bond_header, type_of

KEY = bytes(range(32))
HEADER = bond_header(b"12345678", 3, kind=TYPE_CONTROL)


def opened(opener: Opener, frame: bytes) -> bytes:
    return opener.open(frame[:HEADER_LEN], frame[HEADER_LEN:])


def refused(opener: Opener, frame: bytes) -> str:
    with pytest.raises(ControlError) as caught:
        opened(opener, frame)
    return caught.value.reason


def frames(count: int) -> list[bytes]:
    sealer = Sealer(KEY)
    return [sealer.seal(HEADER, str(number).encode()) for number in range(count)]


def test_the_first_frame_by_the_rfc() -> None:
    """Frozen: key, nonce 0, the header as what is authenticated beside the text."""
    frame = Sealer(KEY).seal(HEADER, b"hello")
    assert frame[:HEADER_LEN] == HEADER and type_of(frame) == TYPE_CONTROL
    assert frame[HEADER_LEN : HEADER_LEN + 8] == bytes(8)
    assert len(frame) == HEADER_LEN + 8 + 5 + 16
    assert opened(Opener(KEY), frame) == b"hello"


def test_no_nonce_twice() -> None:
    counters = {frame[HEADER_LEN : HEADER_LEN + 8] for frame in frames(300)}
    assert len(counters) == 300


@given(st.integers(0, 8 * (HEADER_LEN + 8 + 5 + 16) - 1))
def test_any_changed_bit_is_refused_and_the_frame_still_taken(bit: int) -> None:
    frame = Sealer(KEY).seal(HEADER, b"hello")
    forged = bytearray(frame)
    forged[bit // 8] ^= 1 << bit % 8
    opener = Opener(KEY)
    assert refused(opener, bytes(forged)) == "control_failed"
    assert opened(opener, frame) == b"hello"


@given(st.binary(max_size=400))
def test_garbage_is_refused(body: bytes) -> None:
    assert refused(Opener(KEY), HEADER + body) in ("control_failed", "control_replayed")


def test_another_key_and_the_other_direction() -> None:
    frame = Sealer(KEY).seal(HEADER, b"hello")
    assert refused(Opener(bytes(32)), frame) == "control_failed"


def test_a_replay_is_refused() -> None:
    opener, (first, second) = Opener(KEY), frames(2)
    assert opened(opener, first) == b"0" and refused(opener, first) == "control_replayed"
    assert opened(opener, second) == b"1"
    assert refused(opener, first) == refused(opener, second) == "control_replayed"


@given(st.permutations(range(40)), st.data())
def test_in_any_order_each_is_taken_once(order: list[int], data: st.DataObject) -> None:
    """What has come is remembered for as long as the window reaches."""
    made, opener = frames(40), Opener(KEY)
    for number in order:
        assert opened(opener, made[number]) == str(number).encode()
        assert refused(opener, made[data.draw(st.sampled_from(order[: order.index(number) + 1]))])


def test_the_windows_edge() -> None:
    made = frames(WINDOW + 2)
    opener = Opener(KEY)
    opened(opener, made[WINDOW])
    assert refused(opener, made[0]) == "control_replayed"
    assert opened(opener, made[1]) == b"1"
    opened(opener, made[WINDOW + 1])
    assert refused(opener, made[1]) == "control_replayed"


def test_a_forged_leap_moves_no_window() -> None:
    """The largest counter there is, with nothing behind it."""
    (frame,), opener = frames(1), Opener(KEY)
    assert refused(opener, HEADER + b"\xff" * 8 + bytes(16)) == "control_failed"
    assert opened(opener, frame) == b"0"


def test_keys_of_a_handshake_are_three_and_those_of_a_shared_key_two() -> None:
    one, other = from_keys(KEY, bytes(32)), from_keys(bytes(32), KEY)
    assert one.tx == other.rx and one.rx == other.tx
    assert len(one.tx.control_key) == KEY_BYTES and one.tx.control_key != one.rx.control_key
    assert one.tx.number + one.tx.mac_key not in one.tx.control_key
    assert derive(KEY, "0123456789", "abcdef0123").tx.control_key == b""
