"""`mpbond bond rotate` and `set`: both orders of words, what is asked, what is said."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from mpbond.cli.main import app
from mpbond.controller.socket import ControlServer
from mpbond.errors import UsageError

ROTATED = {
    "peer": "00000000bb",
    "from": {"idx": 0, "ifname": "eth1", "address": "10.77.1.2", "port": 9944},
    "to": {"idx": 1, "ifname": "eth2", "address": "fd77::2", "port": 9944},
}
SET = {"peer": "00000000bb", "from": "office", "to": "balance-xor"}


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[list[dict[str, Any]]]:
    """What a controller behind the socket of mp0 was asked."""
    found: list[dict[str, Any]] = []

    def answer(with_: object) -> Callable[[dict[str, Any]], object]:
        def handler(request: dict[str, Any]) -> object:
            found.append(request)
            if request["peer"] == "nobody":
                raise UsageError("no peer 'nobody' here; known: berlin")
            return with_

        return handler

    handlers = {"rotate": answer(ROTATED), "set-policy": answer(SET)}
    server = ControlServer(tmp_path / "mp0.sock", handlers)
    yield found
    server.close()


def run(tmp_path: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["bond", *words, "-i", "mp0", "--run-dir", str(tmp_path)])


@pytest.mark.parametrize("words", [("rotate", "berlin"), ("berlin", "rotate")])
def test_rotate(asked: list[dict[str, Any]], tmp_path: Path, words: tuple[str, ...]) -> None:
    """The sentence is ZeroTier's."""
    result = run(tmp_path, *words)
    assert result.exit_code == 0
    assert result.output == "active link rotated from eth1/10.77.1.2/9944 to eth2/fd77::2/9944\n"
    assert asked == [{"call": "rotate", "peer": "berlin"}]
    assert json.loads(run(tmp_path, *words, "-j").output) == ROTATED


@pytest.mark.parametrize("words", [("set", "berlin", "balance-xor"), ("berlin", "set", "balance-xor")])
def test_set(asked: list[dict[str, Any]], tmp_path: Path, words: tuple[str, ...]) -> None:
    result = run(tmp_path, *words)
    assert result.exit_code == 0
    assert result.output.startswith("00000000bb is under balance-xor now (was office)")
    assert asked == [{"call": "set-policy", "peer": "berlin", "policy": "balance-xor"}]
    assert json.loads(run(tmp_path, *words, "-j").output) == SET


def test_a_policy_may_be_called_like_a_command(asked: list[dict[str, Any]], tmp_path: Path) -> None:
    run(tmp_path, "berlin", "set", "show")
    run(tmp_path, "set", "berlin", "rotate")
    assert [request["policy"] for request in asked] == ["show", "rotate"]


@pytest.mark.parametrize("words", [("rotate", "nobody"), ("nobody", "set", "balance-xor")])
def test_what_is_not_there_is_the_users_error(
    asked: list[dict[str, Any]], tmp_path: Path, words: tuple[str, ...]
) -> None:
    result = run(tmp_path, *words)
    assert isinstance(result.exception, UsageError)
    assert "no peer 'nobody'" in str(result.exception)


@pytest.mark.parametrize("words", [("rotate",), ("set", "berlin"), ("berlin", "set"), ("rotate", "a", "b")])
def test_words_that_are_missing_or_too_many(
    asked: list[dict[str, Any]], tmp_path: Path, words: tuple[str, ...]
) -> None:
    assert run(tmp_path, *words).exit_code == 2
    assert asked == []
