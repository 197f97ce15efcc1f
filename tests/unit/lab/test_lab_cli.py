"""`mpbond lab` where there is nothing to do, and what it says then."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from mpbond.cli import lab as cli
from mpbond.config import load_file
from mpbond.errors import EXIT_FAILED, EXIT_USAGE, BondError, UsageError
from mpbond.lab import kept
from mpbond.lab.topology import SERVER_LAN, TOPOLOGIES
from mpbond.rundir import RunDir

PROBLEMS = [
    ("an unknown topology", ["up", "ring"], "no topology 'ring'; there are: two-hosts, routers, gateways"),
    ("a name with a dash", ["up", "two-hosts", "--name", "a-b"], "name 'a-b': wanted up to 12 small letters"),
    ("a name that starts as a process's", ["up", "two-hosts", "--name", "12"], "a letter first"),
    ("a name too long for comfort", ["up", "two-hosts", "--name", "x" * 13], "up to 12"),
    ("no lab of that name", ["down", "other"], "no lab is up (run dir"),
    ("no lab to cut in", ["cut", "lab", "eth1"], "`mpbond lab up TOPOLOGY` makes one"),
    ("no lab to mend", ["restore", "lab", "eth1"], "no lab is up"),
    ("no lab to emulate in", ["emulate", "lab", "eth1", "--delay", "5"], "no lab is up"),
    ("a loss that cannot be", ["emulate", "lab", "eth1", "--loss", "101"], "loss 101: wanted 0 to 100"),
    ("no lab to log", ["log", "lab", "eth1"], "no lab is up"),
    ("one and all", ["down", "lab", "--all"], "either a NAME or --all"),
    ("an unknown scenario", ["run", "opera"], "no scenario 'opera'; there are: demo, failover"),
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


def test_a_lab_not_found(two_labs: RunDir) -> None:
    with pytest.raises(UsageError, match="no lab 'three'; up: one, two"):
        kept.find(two_labs, "three")


@pytest.mark.parametrize("verb", ["cut", "restore"])
def test_a_wire_that_is_not_there(two_labs: RunDir, verb: str) -> None:
    argv = [verb, "one", "eth9", "--run-dir", str(two_labs.path)]
    result = CliRunner().invoke(cli.app, argv)
    assert str(result.exception) == "no wire 'eth9' to cut in lab one; there are: eth1, eth2, eth3"


@pytest.mark.parametrize("verb", ["emulate", "log"])
def test_emulated_wires_are_asked_for(two_labs: RunDir, verb: str) -> None:
    argv = [verb, "one", "eth1", "--run-dir", str(two_labs.path)]
    said = str(CliRunner().invoke(cli.app, argv).exception)
    assert said == "lab one has no emulated wires: `mpbond lab up two-hosts --emulator auto`"


def test_a_lab_remembers_how_its_wires_are_emulated(two_labs: RunDir) -> None:
    (two_labs.path / "lab" / "two" / "topology").write_text("two-hosts relay")
    plain, emulated = (kept.find(two_labs, name).lab for name in ("one", "two"))
    assert not any(wire.emulated for wire in plain.topology.wires)
    assert all(wire.emulated for wire in emulated.topology.wires)
    assert emulated.emulator == "relay"
    said = str(CliRunner().invoke(cli.app, ["log", "two", "eth9", "--run-dir", str(two_labs.path)]).exception)
    assert said == "no wire 'eth9' emulated in lab two; there are: eth1, eth2, eth3"


def test_down_with_nothing_up_is_no_error(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli.app, ["down", "--run-dir", str(tmp_path)])
    assert (result.exit_code, result.stdout) == (0, "no lab is up: nothing to do\n")


@pytest.mark.parametrize("argv", [["up", "two-hosts"], ["run", "demo"], ["cut", "one", "eth1"], ["down"]])
def test_root_is_needed_and_said(two_labs: RunDir, argv: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli.os, "geteuid", lambda: 1000)
    result = CliRunner().invoke(cli.app, argv, env={"MPBOND_RUN_DIR": str(two_labs.path)})
    assert isinstance(result.exception, BondError)
    assert result.exception.exit_code == EXIT_FAILED
    assert "needs root" in str(result.exception)


ENDPOINTS = {
    "two-hosts": ["10.77.1.2", "10.77.2.2", "10.77.3.2"],
    "routers": ["10.78.12.1", "10.78.22.1"],
    "gateways": ["10.77.1.2", "10.77.2.2"],
}


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_both_hosts_get_files_that_fit_each_other(topology: str, tmp_path: Path) -> None:
    configs = []
    for site in kept.sites(TOPOLOGIES[topology]()):
        file = tmp_path / f"{site.host}.yaml"
        file.write_text(site.as_yaml())
        configs.append(load_file(str(file)))
    a, b = configs
    (peer,) = a.peers
    assert [str(endpoint.address) for endpoint in peer.endpoints] == ENDPOINTS[topology]
    assert [endpoint.link for endpoint in peer.endpoints] == [
        f"eth{n}" for n in range(1, len(peer.endpoints) + 1)
    ]
    assert (peer.id, peer.key) == (b.node.id, b.peers[0].key)
    lans = {str(network) for network in peer.allowed} - {"10.99.0.2/32", "fd99::2/128"}
    assert lans == (set(SERVER_LAN) if topology == "gateways" else set())
    assert a.warnings == b.warnings == ()
