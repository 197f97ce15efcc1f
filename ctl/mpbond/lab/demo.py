"""`mpbond lab run demo`, `mpbond lab run failover`: a bond shown at work.

Each makes its own lab, says what it does in order, checks what it shows, and removes
the lab however it ends.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mpbond.errors import BondError
from mpbond.lab import scenes
from mpbond.lab.netns import Lab
from mpbond.lab.report import Claim, Report
from mpbond.lab.scenes import RATE_MBIT, Stage
from mpbond.lab.topology import two_hosts

_LINKS = 3


@contextmanager
def _stage(report: Report) -> Iterator[Stage]:
    """Two hosts, three links; afterwards nothing of them may be left."""
    if os.geteuid() != 0:
        raise BondError("this needs root: network namespaces are made (try: sudo mpbond lab run ...)")
    topology = two_hosts(_LINKS).with_wires(rate_mbit=RATE_MBIT)
    with tempfile.TemporaryDirectory(prefix="mpbond-demo-") as folder, Lab(topology) as lab:
        stage = Stage(lab, Path(folder), report)
        yield stage
    stage.step("The lab is removed; is anything left on this machine?")
    _check(report, scenes.nothing_left(frozenset(stage.made)))


def _check(report: Report, claims: list[Claim]) -> None:
    for claim in claims:
        report.check(claim)


def demo() -> None:
    """Everything that works, in well under a minute. Raises BondError naming what
    was not as it should be."""
    report, start = Report(), time.monotonic()
    report.say(
        f"Two hosts, a and b, on this machine (network namespaces), joined by {_LINKS} links of "
        f"{RATE_MBIT} Mbit/s: eth1, eth2, eth3. mpbond makes one interface of them, mp0."
    )
    with _stage(report) as stage:
        _all_links(stage)
        _one_link(stage)
    report.finish()
    report.say(f"That took {time.monotonic() - start:.0f} s.")


def _all_links(stage: Stage) -> None:
    """First half: balance-xor."""
    stage.step("One YAML file a host, one key, and `mpbond up` on both")
    stage.keys()
    scenes.bring_up(stage, "demo-balance-xor.yaml")
    stage.show()
    stage.step("The speeds of the links add up")
    _check(stage.report, scenes.adds_up(stage))
    stage.step("A link fails without a sign, under traffic")
    stage.report.say("A packet each millisecond from a to b, and the TCP connections, slower, beside it.")
    _check(stage.report, scenes.cut_under_load(stage))


def _one_link(stage: Stage) -> None:
    """Second half: active-backup, the controller's death, and the end."""
    stage.step("Another policy, active-backup: one link works, the others stand by")
    stage.down()
    scenes.bring_up(stage, "demo-active-backup.yaml")
    _check(stage.report, scenes.cut_the_active(stage))
    stage.step("The controller is killed under the stream, and started again")
    file = stage.bonds.folder / "a" / "demo-active-backup.yaml"
    _check(stage.report, scenes.kill_the_controller(stage, file))
    stage.step("Down again")
    stage.down()
    _check(stage.report, scenes.hosts_as_before(stage))


def failover() -> None:
    """One cut of the active link, and what it cost."""
    report = Report()
    report.say(f"Two hosts, {_LINKS} links, active-backup; a packet each millisecond from a to b.")
    with _stage(report) as stage:
        stage.step("The bond comes up")
        stage.keys()
        scenes.bring_up(stage, "demo-active-backup.yaml")
        stage.step("The active link fails without a sign, and returns")
        _check(report, scenes.cut_the_active(stage))
    report.finish()
