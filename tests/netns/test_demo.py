"""The demo is what people see first: it has to work as it stands."""

from __future__ import annotations

import re
import signal
import subprocess
import sys

import pytest

from mpbond.lab import leftovers
from mpbond.lab.netns import PREFIX, namespaces, wait_for

pytestmark = [pytest.mark.root, pytest.mark.netns]


def start(scenario: str) -> subprocess.Popen[str]:
    # What a shell starts in the background ignores SIGINT, and so do its children.
    argv = ["env", "--default-signal=INT", sys.executable, "-m", "mpbond", "lab", "run", scenario]
    # A session of its own: signals to it are for it alone.
    return subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def play(scenario: str) -> str:
    """To its end, which has to be a good one; what it said."""
    process = start(scenario)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, output + errors
    assert errors == ""
    assert namespaces(f"{PREFIX}-{process.pid}-") == []
    return output


def test_demo_shows_every_scene_and_leaves_nothing() -> None:
    """How fast and how little lost is judged by the demo itself: by its exit code."""
    before = leftovers.network()
    said = play("demo")
    for scene in (
        r"a# mpbond up demo-balance-xor.yaml\n +b# mpbond up demo-balance-xor.yaml",
        r"Links +: 3/3",
        r"eth1 +[\d.]+ +eth2 +[\d.]+ +eth3 +[\d.]+ +all +[\d.]+ Mbit/s",
        r"ok +the bond carried \d+ Mbit/s, \d\.\d times one link's \d+\n +wanted: at least 1\.8 times",
        r"eth[123], which carries the stream, is cut now",
        r"ok +the cut: lost \d+ of \d+ packets, gap \d+ ms\n +wanted: at most 150",
        r"ok +TCP went on over the other links",
        r"basePolicy: active-backup",
        r"eth1, the primary, is cut",
        r"ok +the return: lost 0\n",
        r"a# kill -9 \d+",
        r"adopting mp0",
        r"ok +killed and adopted: lost 0 of \d+ packets",
        r"ok +interfaces, addresses, routes, filters of both hosts are as before",
        r"ok +all gone: 3 namespaces, \d+ processes, \d+ BPF programs, \d+ BPF maps",
        r"All \d+ claims held\.",
    ):
        assert re.search(scene, said), scene
    assert max(map(len, said.splitlines())) <= 80
    assert "FAILED" not in said
    assert leftovers.difference(before, leftovers.network()) == []


def test_failover_says_what_a_cut_cost() -> None:
    said = play("failover")
    assert re.search(r"ok +the cut: lost \d+ of \d+ packets, gap \d+ ms", said)
    assert "All " in said


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 128 + signal.SIGTERM)], ids=["INT", "TERM"]
)
def test_interrupted_it_still_cleans_up(number: signal.Signals, code: int) -> None:
    """While the bonds are coming up: the middle of everything."""
    process = start("failover")
    wait_for("the lab", lambda: len(namespaces(f"{PREFIX}-{process.pid}-")) == 3)
    assert process.stdout is not None
    for line in process.stdout:
        if "mpbond up" in line:
            break
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (code, "")
    assert namespaces(f"{PREFIX}-{process.pid}-") == []
