"""Both ends derive the same numbers, nobody else does; what a key file may hold."""

from __future__ import annotations

import base64

import pytest

from mpbond.sessions import KEY_BYTES, derive, from_keys, new_key, parse_key

KEY = bytes(range(32))
OTHER_KEY = bytes(range(1, 33))
A, B, C = "0123456789", "abcdef0123", "bbcdef0123"


def test_what_one_end_sends_the_other_expects() -> None:
    ours, theirs = derive(KEY, A, B), derive(KEY, B, A)
    assert (ours.tx, ours.rx) == (theirs.rx, theirs.tx)


def test_sizes_are_those_of_the_wire_and_of_siphash() -> None:
    pair = derive(KEY, A, B)
    assert {len(pair.tx.number), len(pair.rx.number)} == {8}
    assert {len(pair.tx.mac_key), len(pair.rx.mac_key)} == {16}


@pytest.mark.parametrize(
    ("why", "key", "own", "other"),
    [
        ("another key", OTHER_KEY, A, B),
        ("another peer", KEY, A, C),
        ("another node", KEY, C, B),
        ("the other direction", KEY, B, A),
    ],
)
def test_everything_else_gives_other_numbers(why: str, key: bytes, own: str, other: str) -> None:
    mine, that = derive(KEY, A, B).tx, derive(key, own, other).tx
    assert mine.number != that.number
    assert mine.mac_key != that.mac_key


def test_ids_do_not_run_into_each_other() -> None:
    assert derive(KEY, "a" * 10, "b" * 10).tx != derive(KEY, "a" * 9, "a" + "b" * 10).tx


def test_known_answer() -> None:
    """Frozen: an mpbond that derives anything else no longer understands its peers."""
    pair = derive(KEY, A, B)
    assert pair.tx.number.hex() == "ae33b2a700c192ad"
    assert pair.tx.mac_key.hex() == "578e7ee0645e185212c6dda8b0d31e75"
    assert pair.rx.number.hex() == "45126d3627b6a985"
    assert pair.rx.mac_key.hex() == "73fef91d72eb58a1bcb214db7598d045"


def test_a_new_key_is_one_line_that_is_read_back() -> None:
    text = new_key()
    assert text.endswith("\n")
    assert text.count("\n") == 1
    assert len(parse_key(text)) == KEY_BYTES
    assert new_key() != text


@pytest.mark.parametrize(
    "text",
    [
        base64.b64encode(KEY).decode(),
        base64.b64encode(KEY).decode() + "\n",
        KEY.hex(),
        KEY.hex().upper(),
        f"\n  {KEY.hex()}\r\n",
    ],
)
def test_a_key_is_read_as(text: str) -> None:
    assert parse_key(text) == KEY


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "0 bytes"),
        ("\n", "0 bytes"),
        (base64.b64encode(KEY[:31]).decode(), "31 bytes"),
        (base64.b64encode(KEY + b"!").decode(), "33 bytes"),
        ("z" * 64, "neither base64 nor hex"),
        (base64.b64encode(KEY * 2).decode(), "64 bytes"),
        ("not a key", "neither base64 nor hex"),
        ("ключ", "neither base64 nor hex"),
        ("\0", "neither base64 nor hex"),
        (base64.b64encode(KEY).decode() + "\n" + base64.b64encode(KEY).decode(), "neither base64 nor hex"),
    ],
)
def test_anything_else_is_refused_with_what_was_found(text: str, found: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_key(text)
    assert str(caught.value) == found


def test_a_handshakes_keys_become_sessions() -> None:
    ours, theirs = from_keys(KEY, OTHER_KEY), from_keys(OTHER_KEY, KEY)
    assert (ours.tx, ours.rx) == (theirs.rx, theirs.tx)
    assert ours.tx.number != ours.rx.number and ours.tx.mac_key != ours.rx.mac_key


def test_known_answer_of_a_handshakes_keys() -> None:
    """Frozen, as the other."""
    pair = from_keys(KEY, OTHER_KEY)
    assert (pair.tx.number.hex(), pair.tx.mac_key.hex()) == (
        "878372e3ae7b5160",
        "4d5ccf0191429205ab0f49d999a06373",
    )
