"""The history of what has happened, as lines, as JSON, on the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from mpbond.cli.main import app
from mpbond.controller.socket import ControlServer
from mpbond.errors import UsageError
from mpbond.events import KEPT, History, Kind

S = 1_000_000_000
PEER, OTHER = "00000000bb", "00000000cc"


def history() -> tuple[History, list[str]]:
    said: list[str] = []
    made = History(said.append)
    made.add(5 * S, Kind.UP, PEER, path=(0, "eth0"), cause="to 10.0.0.2")
    made.add(
        6 * S, Kind.AVOIDED, PEER, path=(0, "eth0"), cause="latency 301.0 ms is over lat_max 100", value=301.0
    )
    made.add(7 * S, Kind.POLICY, OTHER, cause="balance-xor (was office)")
    made.add(8 * S, Kind.FAILOVER, PEER, path=(0, "eth0"), failovers=3)
    return made, said


def test_every_event_is_a_line_of_the_log() -> None:
    _, said = history()
    assert said == [
        f"{PEER}: path 0 (eth0) up: to 10.0.0.2",
        f"{PEER}: path 0 (eth0) is avoided: latency 301.0 ms is over lat_max 100",
        f"{OTHER}: policy: balance-xor (was office)",
        f"{PEER}: path 0 (eth0) has failed and carried traffic",
    ]


def test_those_after_a_number_and_of_a_peer() -> None:
    made, _ = history()
    assert [event.number for event in made.since()] == [1, 2, 3, 4]
    assert [event.number for event in made.since(1, PEER)] == [2, 4]
    assert list(made.since(4)) == []


def test_the_oldest_make_room() -> None:
    made = History(lambda _: None)
    for at in range(KEPT + 5):
        made.add(at, Kind.UP, PEER)
    assert [event.number for event in made.since()] == list(range(6, KEPT + 6))


def test_as_json() -> None:
    made, _ = history()
    event = list(made.since())[1].as_json(1_700_000_000 * S)
    assert json.loads(json.dumps(event)) == {
        "number": 2,
        "time": 1_700_000_006.0,
        "kind": "path-avoided",
        "peer": PEER,
        "path": 0,
        "ifname": "eth0",
        "cause": "latency 301.0 ms is over lat_max 100",
        "figures": {"value": 301.0},
    }


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_has_words(kind: Kind) -> None:
    said: list[str] = []
    History(said.append).add(0, kind, PEER, path=(1, "eth1"))
    assert said[0].startswith(f"{PEER}: path 1 (eth1) ")


# ---- on the command line ---------------------------------------------------------------


@pytest.fixture
def run_dir(tmp_path: Path) -> Iterator[Path]:
    """Behind the socket of mp0 lies `history()`."""
    made, _ = history()

    def handler(request: dict[str, Any]) -> object:
        peer = request.get("peer")
        if peer == "nobody":
            raise UsageError("no peer 'nobody' here; known: berlin")
        of = PEER if peer == "berlin" else None
        return {"events": [event.as_json(0) for event in made.since(int(request["since"]), of)]}

    server = ControlServer(tmp_path / "mp0.sock", {"events": handler})
    yield tmp_path
    server.close()


def run(run_dir: Path, *words: str) -> Result:
    return CliRunner().invoke(app, ["bond", *words, "-i", "mp0", "--run-dir", str(run_dir)])


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        (("events",), [1, 2, 3, 4]),
        (("events", "-n", "2"), [3, 4]),
        (("events", "-n", "0"), []),
        (("events", "berlin"), [1, 2, 4]),
        (("berlin", "events"), [1, 2, 4]),
    ],
)
def test_which_are_shown(run_dir: Path, words: tuple[str, ...], numbers: list[int]) -> None:
    result = run(run_dir, *words, "-j")
    assert result.exit_code == 0
    assert [json.loads(line)["number"] for line in result.output.splitlines()] == numbers


def test_shown_as_in_the_log_with_the_time(run_dir: Path) -> None:
    lines = run(run_dir, "events").output.splitlines()
    _, said = history()
    assert [line.split(" ", 2)[2] for line in lines] == said
    assert lines[0].split(" ")[1].endswith(":05.000")


def test_an_unknown_peer(run_dir: Path) -> None:
    result = run(run_dir, "events", "nobody")
    assert isinstance(result.exception, UsageError)
