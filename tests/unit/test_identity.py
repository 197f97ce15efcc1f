"""A node's id follows from its key, for ever the same."""

from __future__ import annotations

import re

from mpbond.identity import as_text, id_of, identity
from mpbond.sessions import new_key, parse_key

# The responder's key pair of the handshake's published vectors: see test_noise.py.
PRIVATE = bytes.fromhex("4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893")
PUBLIC = bytes.fromhex("31e0303fd6418d2f8c0e78b91f22e8caed0fbe48656dcf4767e4834f701b8f62")


def test_known_answer() -> None:
    """Frozen: an mpbond that derives anything else does not know its peers any more."""
    node = identity(PRIVATE)
    assert node.public == PUBLIC
    assert node.id == id_of(PUBLIC) == "c23e204e26"


def test_ids_are_ten_hex_digits_and_differ() -> None:
    ids = {identity(parse_key(new_key())).id for _ in range(20)}
    assert len(ids) == 20
    assert all(re.fullmatch("[0-9a-f]{10}", one) for one in ids)


def test_a_key_is_read_back() -> None:
    assert parse_key(as_text(PUBLIC)) == PUBLIC


def test_the_private_key_does_not_show() -> None:
    assert PRIVATE.hex() not in repr(identity(PRIVATE))
    assert repr(PRIVATE) not in repr(identity(PRIVATE))
