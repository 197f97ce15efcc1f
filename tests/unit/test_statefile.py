"""What outlives a controller: written whole, read again, and never a reason to stop."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from mpbond import rundir
from mpbond.controller.statefile import MOST_PATHS, StateFile
from mpbond.rundir import RunDir

MINUTES = {"00000000bb eth0 10.0.0.1 10.0.0.2 9944": "..x."}


def made(folder: Path) -> tuple[StateFile, list[str]]:
    said: list[str] = []
    return StateFile(folder, "mp0", said.append), said


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    file, said = made(tmp_path / "new" / "folder")
    assert file.load() == {}
    file.save(MINUTES)
    assert made(tmp_path / "new" / "folder")[0].load() == MINUTES
    assert said == []
    assert [one.name for one in file.path.parent.iterdir()] == ["mp0.json"]
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[]", "null", '{"version": 1}', '{"version": 2, "minutes": {}}', "[" * 100_000),
        *('{"version": 1, "minutes": {"a": 5}}', '{"version": 1, "minutes": []}', "\x00\xff"),
    ],
)
def test_a_damaged_file_is_put_aside(tmp_path: Path, text: str) -> None:
    file, said = made(tmp_path)
    file.path.write_bytes(text.encode("latin-1"))
    assert file.load() == {}
    assert not file.path.exists()
    assert (tmp_path / "mp0.damaged").read_bytes() == text.encode("latin-1")
    assert len(said) == 1 and "damaged" in said[0]
    file.save(MINUTES)
    assert file.load() == MINUTES


def test_what_cannot_be_written_is_said_once(tmp_path: Path) -> None:
    (tmp_path / "here").write_text("a file, no folder")
    file, said = made(tmp_path / "here")
    for _ in range(3):
        file.save(MINUTES)
    assert len(said) == 1 and said[0].startswith("cannot write ")
    assert file.load() == {}


def test_it_does_not_grow_for_ever(tmp_path: Path) -> None:
    file, _ = made(tmp_path)
    file.save({str(number): "." for number in range(MOST_PATHS + 5)})
    kept = json.loads(file.path.read_text())["minutes"]
    assert len(kept) == MOST_PATHS and str(MOST_PATHS + 4) in kept


@pytest.mark.parametrize(
    ("option", "environment", "run_dir", "found"),
    [
        (None, None, rundir.DEFAULT, "/var/lib/mpbond"),
        (None, None, "/tmp/lab", "/tmp/lab/state"),
        ("/here", None, "/tmp/lab", "/here"),
        (None, "/there", rundir.DEFAULT, "/there"),
        ("/here", "/there", rundir.DEFAULT, "/here"),
    ],
)
def test_where(
    monkeypatch: pytest.MonkeyPatch, option: str | None, environment: str | None, run_dir: str, found: str
) -> None:
    monkeypatch.delenv(rundir.STATE_ENVIRONMENT, raising=False)
    if environment:
        monkeypatch.setenv(rundir.STATE_ENVIRONMENT, environment)
    assert rundir.state_dir(option, RunDir(Path(run_dir))) == Path(found)
