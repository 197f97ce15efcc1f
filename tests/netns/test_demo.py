"""The demo is what people see first: it has to work as it stands."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from mpbond.lab import leftovers

pytestmark = [pytest.mark.root, pytest.mark.netns]


def test_demo_plays_and_leaves_nothing() -> None:
    """How fast and how little lost is other tests' business; that it is said is this one's."""
    before = leftovers.network()
    played = subprocess.run(
        [sys.executable, "-m", "mpbond", "lab", "run", "demo"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert played.returncode == 0, played.stdout + played.stderr
    assert re.search(r"eth1 alone +\d+\.\d Mbit/s", played.stdout)
    assert re.search(r"the bond +\d+\.\d Mbit/s", played.stdout)
    assert re.search(
        r"eth[12] was cut, and later mended: \d+ packets sent, \d+ lost, 0 duplicated", played.stdout
    )
    assert "Both hosts are as they were before." in played.stdout
    assert played.stdout.rstrip().endswith("The lab is gone.")
    assert not re.search(r"\b[0-9a-f]{64}\b", played.stdout), "the key is not for showing"
    assert leftovers.difference(before, leftovers.network()) == []
