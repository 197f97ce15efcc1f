"""Asking and answering over a real socket; requests and servers that are no good."""

from __future__ import annotations

import json
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mpbond.controller.socket import ControlServer, ask
from mpbond.errors import EXIT_FAILED, EXIT_USAGE, BondError, Unsupported, UsageError

MALFORMED = {"error": "a request is one JSON object with a `call`"}


def refuse(_: dict[str, Any]) -> object:
    raise BondError("not now")


def stumble(_: dict[str, Any]) -> object:
    raise RuntimeError("a mistake of ours")


def look_up(_: dict[str, Any]) -> object:
    return {}["paths"]  # type: ignore[misc]


def no_such(_: dict[str, Any]) -> object:
    raise UsageError("no such peer")


def cannot(_: dict[str, Any]) -> object:
    raise Unsupported("stripe", "arrives later")


HANDLERS = {
    "no such": no_such,
    "cannot": cannot,
    "echo": lambda request: request,
    "nothing": lambda _: None,
    "refuse": refuse,
    "stumble": stumble,
    "look up": look_up,
    "unwritable": lambda _: object(),
}


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    server = ControlServer(tmp_path / "mp0.sock", HANDLERS)
    yield tmp_path / "mp0.sock"
    server.close()


def raw(path: Path, data: bytes) -> Any:
    """The answer to exactly these bytes, after which nothing more is sent."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(str(path))
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        with connection.makefile("rb") as stream:
            return json.loads(stream.readline())


def test_a_question_and_its_answer(path: Path) -> None:
    assert ask(path, "echo", peer="abcdef0123", deep={"list": [1, None, "ü"]}) == {
        "call": "echo",
        "peer": "abcdef0123",
        "deep": {"list": [1, None, "ü"]},
    }


def test_an_answer_may_be_nothing(path: Path) -> None:
    assert ask(path, "nothing") is None


def test_many_questions_at_once_each_get_their_own_answer(path: Path) -> None:
    answers: dict[int, int] = {}

    def one(number: int) -> None:
        answers[number] = ask(path, "echo", number=number)["number"]

    threads = [threading.Thread(target=one, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: number for number in range(12)}


def test_only_the_owner_may_ask(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


REFUSED = [
    ("refuse", "not now"),
    ("frobnicate", "unknown call 'frobnicate'"),
    ("stumble", "stumble: RuntimeError: a mistake of ours"),
    ("look up", "look up: KeyError: 'paths'"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_what_goes_wrong_in_there_is_said_out_here(path: Path, call: str, message: str) -> None:
    with pytest.raises(BondError) as caught:
        ask(path, call)
    assert str(caught.value) == message
    assert ask(path, "echo")["call"] == "echo"


@pytest.mark.parametrize(
    ("call", "code"),
    [("refuse", EXIT_FAILED), ("stumble", EXIT_FAILED), ("no such", EXIT_USAGE), ("cannot", EXIT_USAGE)],
)
def test_the_exit_code_is_the_one_of_in_there(path: Path, call: str, code: int) -> None:
    with pytest.raises(BondError) as caught:
        ask(path, call)
    assert caught.value.exit_code == code


def test_an_answer_that_is_no_json_is_an_error_too(path: Path) -> None:
    with pytest.raises(BondError, match="unwritable: TypeError: "):
        ask(path, "unwritable")
    assert ask(path, "echo")["call"] == "echo"


GARBAGE = [
    ("no JSON", b"hello\n"),
    ("nothing at all", b""),
    ("an empty line", b"\n"),
    ("no UTF-8", b"\xff\xfe\n"),
    ("an object without a call", b"{}\n"),
    ("a list", b"[]\n"),
    ("a number", b"5\n"),
    ("a string", b'"call"\n'),
    ("a call that is no name", b'{"call": ["echo"]}\n'),
    ("half a line", b'{"call": "ec'),
    ("brackets without end", b"[" * 60_000 + b"\n"),
]


@pytest.mark.parametrize(("why", "data"), GARBAGE, ids=[row[0] for row in GARBAGE])
def test_garbage_is_refused_and_the_server_lives_on(path: Path, why: str, data: bytes) -> None:
    assert raw(path, data) == MALFORMED
    assert ask(path, "echo")["call"] == "echo"


def test_a_line_without_its_newline_is_a_line(path: Path) -> None:
    assert raw(path, b'{"call": "nothing"}') == {"result": None}


def test_a_caller_that_hangs_up_does_no_harm(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(str(path))
    assert ask(path, "echo")["call"] == "echo"


# ---- servers that are not there ------------------------------------------------------

NOBODY = "no controller answers on .*mp0.sock: is the bond up"


def test_nobody_is_there(tmp_path: Path) -> None:
    with pytest.raises(BondError, match=NOBODY):
        ask(tmp_path / "mp0.sock", "snapshot")


def test_a_server_that_was_closed(tmp_path: Path) -> None:
    server = ControlServer(tmp_path / "mp0.sock", HANDLERS)
    server.close()
    assert not (tmp_path / "mp0.sock").exists()
    with pytest.raises(BondError, match=NOBODY):
        ask(tmp_path / "mp0.sock", "echo")


def bound(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    return listener


def test_a_server_that_died_and_left_its_socket(tmp_path: Path) -> None:
    bound(tmp_path / "mp0.sock").close()
    with pytest.raises(BondError, match=NOBODY):
        ask(tmp_path / "mp0.sock", "echo")


def test_its_socket_is_in_nobodys_way(tmp_path: Path) -> None:
    bound(tmp_path / "mp0.sock").close()
    server = ControlServer(tmp_path / "mp0.sock", HANDLERS)
    assert ask(tmp_path / "mp0.sock", "nothing") is None
    server.close()


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (b"", "the controller closed the connection"),
        (b'{"result": ', "the controller on .* answers nonsense"),
        (b"hello\n", "the controller on .* answers nonsense"),
        (b"[]\n", "the controller on .* answers nonsense"),
        (b"{}\n", "the controller on .* answers nonsense"),
    ],
)
def test_somebody_else_listens_there(tmp_path: Path, said: bytes, message: str) -> None:
    with bound(tmp_path / "mp0.sock") as listener:
        listener.listen(1)

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(said)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(BondError, match=message):
            ask(tmp_path / "mp0.sock", "echo")
        thread.join()


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(BondError, match=r"cannot listen on .*/gone/mp0.sock: No such file"):
        ControlServer(tmp_path / "gone" / "mp0.sock", HANDLERS)
