"""The handshake against published vectors, and what is not to pass."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from mpbond.noise import Initiator, NoiseError, Responder, public_key

# Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s of the vectors that the Noise libraries cacophony
# and snow publish (vectors/cacophony.txt).
PROLOGUE = b"John Galt"
PSK = b"This is my Austrian perspective!"
INIT_STATIC = bytes.fromhex("e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1")
INIT_EPHEMERAL = bytes.fromhex("893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a")
RESP_STATIC = bytes.fromhex("4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893")
RESP_PUBLIC = bytes.fromhex("31e0303fd6418d2f8c0e78b91f22e8caed0fbe48656dcf4767e4834f701b8f62")
RESP_EPHEMERAL = bytes.fromhex("bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b")
FIRST = (
    b"Ludwig von Mises",
    bytes.fromhex(
        "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944"
        "001e21de9f98ddd8e2ad57527207feb56253c9c94a9e496782ecfcb2a75fbcaf1b52948cc48daefe660c62119ab50009"
        "80c84831215f2441eba616548e832985464cf17e51ee93109008399a21f7e13f"
    ),
)
SECOND = (
    b"Murray Rothbard",
    bytes.fromhex(
        "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843"
        "cb765f2caef0751b8f007572dab0322217755c0632f365717edbf34d33e87a"
    ),
)
# The first message of each direction under the keys that come of it.
FROM_INITIATOR = (b"F. A. Hayek", bytes.fromhex("8153ca9833bc3c1b91a7e66e5f4d4f5b59bf9e64c2f20d15f0bba7"))
FROM_RESPONDER = (b"Carl Menger", bytes.fromhex("07af0c9c86e1b4e80f36b04ff7688d51141af3debd0332f0a705ef"))


def initiator(psk: bytes = PSK, remote: bytes = RESP_PUBLIC) -> Initiator:
    return Initiator(INIT_STATIC, remote, psk, INIT_EPHEMERAL, PROLOGUE)


def responder(static: bytes = RESP_STATIC, prologue: bytes = PROLOGUE) -> Responder:
    return Responder(static, RESP_EPHEMERAL, prologue)


def read(there: Responder, message: bytes) -> bytes:
    there.read_identity(message)
    return there.read_payload(message)


def test_published_vectors() -> None:
    assert public_key(RESP_STATIC) == RESP_PUBLIC
    here, there = initiator(), responder()
    first = here.write(FIRST[0])
    assert first == FIRST[1]
    assert there.read_identity(first) == public_key(INIT_STATIC)
    assert there.read_payload(first) == FIRST[0]
    second, there_sends, there_receives = there.write(SECOND[0], PSK)
    assert second == SECOND[1]
    payload, here_sends, here_receives = here.read(second)
    assert payload == SECOND[0]
    assert (here_sends, here_receives) == (there_receives, there_sends)
    for key, (plain, sealed) in ((here_sends, FROM_INITIATOR), (there_sends, FROM_RESPONDER)):
        assert ChaCha20Poly1305(key).encrypt(bytes(12), plain, b"") == sealed


def test_every_changed_byte_of_the_first_message_is_seen() -> None:
    first = bytearray(initiator().write(b"payload"))
    for at in range(len(first)):
        first[at] ^= 1
        with pytest.raises(NoiseError):
            read(responder(), bytes(first))
        first[at] ^= 1
    assert read(responder(), bytes(first)) == b"payload"


def test_a_forged_answer_does_not_end_the_handshake() -> None:
    here, there = initiator(), responder()
    read(there, here.write(b""))
    second, _, _ = there.write(b"payload", PSK)
    for at in range(len(second)):
        forged = bytearray(second)
        forged[at] ^= 1
        with pytest.raises(NoiseError):
            here.read(bytes(forged))
    assert here.read(second)[0] == b"payload"


def test_another_pre_shared_key_makes_the_answer_unreadable() -> None:
    here, there = initiator(psk=bytes(32)), responder()
    read(there, here.write(b""))
    with pytest.raises(NoiseError):
        here.read(there.write(b"", PSK)[0])


@pytest.mark.parametrize(
    ("why", "there"),
    [
        ("another responder", responder(static=INIT_STATIC)),
        ("another prologue", responder(prologue=b"")),
    ],
)
def test_a_message_for_somebody_else(why: str, there: Responder) -> None:
    with pytest.raises(NoiseError):
        there.read_identity(initiator().write(b""))


@pytest.mark.parametrize("length", [0, 31, 32, 79, 95])
def test_what_is_too_short(length: int) -> None:
    with pytest.raises(NoiseError):
        responder().read_identity(initiator().write(b"")[:length])


@pytest.mark.parametrize("length", [0, 31, 47])
def test_an_answer_that_is_too_short(length: int) -> None:
    here, there = initiator(), responder()
    read(there, here.write(b""))
    with pytest.raises(NoiseError):
        here.read(there.write(b"", PSK)[0][:length])


def test_a_point_of_low_order_is_refused() -> None:
    """Its secret would be known to everybody."""
    with pytest.raises(NoiseError):
        initiator(remote=bytes(32)).write(b"")
    with pytest.raises(NoiseError):
        responder().read_identity(bytes(96))
