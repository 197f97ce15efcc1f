"""`mpbond lab up|cut|restore|down` as a user types them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpbond.lab import kept, leftovers
from mpbond.lab.netns import PREFIX, namespaces, wait_for
from mpbond.lab.topology import TOPOLOGIES
from mpbond.rundir import RunDir

pytestmark = [pytest.mark.root, pytest.mark.netns]

# Not what a user would choose, nor another run of these tests at the same time.
NAME = f"t{os.getpid()}"


@pytest.fixture
def run_dir(tmp_path: Path) -> Iterator[RunDir]:
    found = RunDir(tmp_path / "run")
    yield found
    for lab in kept.every(found):
        kept.down(lab)


def mpbond_lab(run_dir: RunDir, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "mpbond", "lab", *words, "--run-dir", str(run_dir.path)]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)


def answers() -> bool:
    """As the printed advice has it: through `ip netns exec`."""
    ping = ["ip", "netns", "exec", f"{PREFIX}-{NAME}-a", "ping", "-c", "1", "-W", "1", "10.77.1.2"]
    return succeeds(ping)


def succeeds(argv: list[str]) -> bool:
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


def test_a_lab_stays_until_it_is_taken_down(run_dir: RunDir) -> None:
    before = leftovers.network()
    made = mpbond_lab(run_dir, "up", "two-hosts", "--name", NAME)
    assert made.returncode == 0, made.stderr
    assert f"nsenter --net=/run/netns/{PREFIX}-{NAME}-a bash" in made.stdout
    assert "eth1: a eth1 10.77.1.1/24 fd77:1::1/64 = b eth1 10.77.1.2/24 fd77:1::2/64" in made.stdout
    assert answers()
    assert mpbond_lab(run_dir, "cut", NAME, "eth1").returncode == 0
    assert not answers()
    assert mpbond_lab(run_dir, "restore", NAME, "eth1").returncode == 0
    assert answers()
    assert mpbond_lab(run_dir, "down").stdout == f"lab {NAME} is gone\n"
    assert namespaces(f"{PREFIX}-{NAME}-") == []
    assert leftovers.difference(before, leftovers.network()) == []
    assert list((run_dir.path / "lab").iterdir()) == []


def test_a_wire_is_emulated_and_tells_what_it_did(run_dir: RunDir, tmp_path: Path) -> None:
    """By commands of which none lives longer than it takes: the relay stays."""
    before = leftovers.network()
    made = mpbond_lab(run_dir, "up", "two-hosts", "--name", NAME, "--emulator", "relay")
    assert (
        "eth1: a eth1 10.77.1.1/24 fd77:1::1/64 = b eth1 10.77.1.2/24 fd77:1::2/64 (emulated)" in made.stdout
    )
    assert f"lab emulate {NAME} eth1 --delay 20" in made.stdout
    assert answers()
    assert (
        mpbond_lab(run_dir, "emulate", NAME, "eth1", "--direction", "b->a", "--loss", "100").returncode == 0
    )
    with subprocess.Popen(
        ["ip", "netns", "exec", f"{PREFIX}-{NAME}-a", "ping", "-i", "0.1", "10.77.1.2"],
        stdout=subprocess.DEVNULL,
    ) as ping:
        file = tmp_path / "packets.csv"
        log = mpbond_lab(run_dir, "log", NAME, "eth1", "--seconds", "1", "--csv", str(file))
        ping.kill()
    a_to_b, b_to_a = log.stdout.splitlines()
    assert re.match(r"a->b: \d+ passed, held for 0\.", a_to_b)
    assert re.match(r"b->a: 0 passed, \d+ dropped: loss", b_to_a)
    assert {line.split(",")[1] for line in file.read_text().splitlines()[1:]} == {"passed", "loss"}
    assert mpbond_lab(run_dir, "emulate", NAME, "eth1").returncode == 0
    assert answers()
    assert mpbond_lab(run_dir, "down").returncode == 0
    assert namespaces(f"{PREFIX}-{NAME}-") == []
    assert leftovers.difference(before, leftovers.network()) == []


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_the_printed_commands_bond_the_hosts(run_dir: RunDir, topology: str) -> None:
    """Taken from the output as they stand, by a shell: then the printed ping answers."""
    made = mpbond_lab(run_dir, "up", topology, "--name", NAME).stdout
    ups = re.findall(r"^  (nsenter .* \\\n    .* up .*)$", made, re.MULTILINE)
    assert len(ups) == 2
    for command in ups:
        subprocess.run(["sh", "-c", command], check=True, capture_output=True, timeout=60)
    (ping,) = re.findall(r"^  (nsenter .* ping .*)$", made, re.MULTILINE)
    (show,) = re.findall(r"^  (.* bond show host-b)$", made, re.MULTILINE)
    wait_for("the ping answered", lambda: succeeds([*ping.split(), "-c", "1", "-W", "1"]))
    shown = subprocess.run(show.split(), check=True, capture_output=True, text=True).stdout
    assert "Session                : up" in shown
    for down in re.findall(r"^  (.* lab (?:cut|restore|down) .*)$", made, re.MULTILINE):
        assert succeeds(down.split()), down
    assert namespaces(f"{PREFIX}-{NAME}-") == []


def test_the_second_of_a_name_is_refused_and_harms_nothing(run_dir: RunDir) -> None:
    assert mpbond_lab(run_dir, "up", "two-hosts", "--name", NAME).returncode == 0
    # Another run dir does not know the lab; the namespaces are there all the same.
    for where in (run_dir, RunDir(run_dir.path / "other")):
        again = mpbond_lab(where, "up", "routers", "--name", NAME)
        assert again.returncode == 2
        assert f"lab {NAME} is up already" in again.stderr
    assert answers()


def test_down_ends_what_runs_inside(run_dir: RunDir) -> None:
    mpbond_lab(run_dir, "up", "two-hosts", "--name", NAME)
    sleeper = subprocess.Popen(["ip", "netns", "exec", f"{PREFIX}-{NAME}-b", "sleep", "1000"])
    pids = f"{PREFIX}-{NAME}-b"
    wait_for("the sleeper inside", lambda: subprocess.check_output(["ip", "netns", "pids", pids]))
    assert mpbond_lab(run_dir, "down", NAME).returncode == 0
    assert sleeper.wait(timeout=10) == -signal.SIGKILL


def test_orphans_of_a_killed_process_are_removed_and_no_others() -> None:
    code = (
        "import time; from mpbond.lab.netns import Lab; from mpbond.lab.topology import two_hosts\n"
        "with Lab(two_hosts(1)) as lab: print(lab.tag, flush=True); time.sleep(1000)"
    )
    tags = []
    for _ in range(2):
        owner = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert owner.stdout is not None
        tags.append((owner, owner.stdout.readline().strip()))
        owner.stdout.close()
    (dead, tag_of_dead), (alive, tag_of_living) = tags
    dead.kill()
    dead.wait()
    try:
        gone = kept.remove_orphans()
        assert {f"{PREFIX}-{tag_of_dead}-{host}" for host in ("a", "b", "mid")} <= set(gone)
        assert len(namespaces(f"{PREFIX}-{tag_of_living}-")) == 3
        assert namespaces(f"{PREFIX}-{os.getpid()}-") == []
    finally:
        alive.send_signal(signal.SIGINT)
        alive.wait(timeout=10)
    assert namespaces(f"{PREFIX}-{tag_of_living}-") == []
