"""`mpbond lab` where there is nothing to do, and what it says then."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from mpbond.cli import lab as cli
from mpbond.errors import EXIT_USAGE, BondError, UsageError
from mpbond.lab import kept
from mpbond.rundir import RunDir

PROBLEMS = [
    ("an unknown topology", ["up", "ring"], "no topology 'ring'; there are: two-hosts, routers, gateways"),
    ("a name with a dash", ["up", "two-hosts", "--name", "a-b"], "name 'a-b': wanted up to 12 small letters"),
    ("a name that starts as a process's", ["up", "two-hosts", "--name", "12"], "a letter first"),
    ("a name too long for comfort", ["up", "two-hosts", "--name", "x" * 13], "up to 12"),
    ("no lab to remove", ["down"], "no lab is up (run dir"),
    ("no lab of that name", ["down", "other"], "no lab is up (run dir"),
    ("no lab to cut in", ["cut", "eth1"], "`mpbond lab up TOPOLOGY` makes one"),
    ("one and all", ["down", "lab", "--all"], "either a NAME or --all"),
    ("an unknown scenario", ["run", "opera"], "no scenario 'opera'; there are: demo"),
]


@pytest.mark.parametrize(
    ("argv", "words"), [case[1:] for case in PROBLEMS], ids=[case[0] for case in PROBLEMS]
)
def test_problem_is_said(argv: list[str], words: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(cli.app, argv, env={"MPBOND_RUN_DIR": str(tmp_path)})
    assert isinstance(result.exception, BondError)
    assert result.exception.exit_code == EXIT_USAGE
    assert words in str(result.exception)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def two_labs(tmp_path: Path) -> RunDir:
    for name in ("one", "two"):
        folder = tmp_path / "lab" / name
        folder.mkdir(parents=True)
        (folder / "topology").write_text("two-hosts")
    return RunDir(tmp_path)


def test_labs_are_found_by_name(two_labs: RunDir) -> None:
    assert [lab.name for lab in kept.every(two_labs)] == ["one", "two"]
    found = kept.find(two_labs, "two")
    assert found.lab.ns("a") == "mpb-two-a"
    assert found.run_dir("a") != found.run_dir("b")


@pytest.mark.parametrize(
    ("name", "words"),
    [(None, r"several labs are up \(one, two\)"), ("three", "no lab 'three'; up: one, two")],
)
def test_a_lab_not_found(two_labs: RunDir, name: str | None, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        kept.find(two_labs, name)


def test_only_lab_needs_no_name(two_labs: RunDir) -> None:
    (two_labs.path / "lab/one/topology").unlink()
    assert kept.find(two_labs, None).name == "two"


def test_a_wire_that_is_not_there(two_labs: RunDir) -> None:
    argv = ["cut", "eth9", "--name", "one", "--run-dir", str(two_labs.path)]
    result = CliRunner().invoke(cli.app, argv)
    assert str(result.exception) == "no wire 'eth9' to cut in lab one; there are: eth1, eth2, eth3"
