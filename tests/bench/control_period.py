"""A controller of a thousand peers: CPU time of a control period, and memory.

`python tests/bench/control_period.py` (root): 1,000 peers of 4 paths each. Memory is
that of a running `mpbond`. The period is timed in a controller of the same file in
a process of its own, whose paths are answered by hand: with real maps, and fresh
samples on all paths for each period. Exit 1 beyond the limits.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from mpbond import sessions
from mpbond.lab.bonds import Bonds
from mpbond.lab.netns import Lab, command, wait_for
from mpbond.lab.topology import Host, Topology, two_hosts

PEERS, LINKS = 1000, 4
CPU_MS, RSS_MB = 20.0, 120.0
PERIOD_NS = 250_000_000
FAILOVER_MS = 1000
# What a period brings of each path: four probes in a failoverInterval.
ANSWERS = 1
WARM_UP, PERIODS = 80, 80


def topology() -> Topology:
    """Host a with four links; its peers, which there are not, behind the other one."""
    routes = tuple(
        (f"10.{80 + link}.0.0/16", f"10.77.{link}.2", f"eth{link}", 0) for link in range(1, LINKS + 1)
    )
    wires = two_hosts(LINKS, guarded=False).wires
    return Topology((Host("a", routes), Host("b")), wires)


def site(policy: str) -> str:
    """A configuration file of them all."""
    key = sessions.new_key().strip()
    peers = {
        f"{number + 1:010x}": {
            "key": key,
            "endpoints": [_address(80 + link, number) for link in range(1, LINKS + 1)],
            "allowed": [f"{_address(100, number)}/32"],
        }
        for number in range(PEERS)
    }
    return yaml.safe_dump(
        {
            "node": {"id": "00000f00aa"},
            "interface": {"name": "mp0", "addresses": ["10.100.255.1/16"]},
            "settings": {
                "defaultBondingPolicy": "many",
                "policies": {"many": {"basePolicy": policy, "failoverInterval": FAILOVER_MS}},
            },
            "peers": peers,
        },
        sort_keys=False,
    )


def _address(network: int, number: int) -> str:
    return f"10.{network}.{number // 250}.{number % 250 + 1}"


def rss_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


class Answers:
    """Does what the kernel does where a path's probes are answered."""

    def __init__(self, plane: Any) -> None:
        self._plane = plane
        flags = plane.paths["flags"]
        self.paths = np.flatnonzero(flags & 1)
        self._random = np.random.default_rng(1)
        self._delay_ms = self._random.uniform(5, 80, len(self.paths))

    def come(self, now_ns: int) -> None:
        plane, paths = self._plane, self.paths
        plane.bonds_live["clock_ns"] += np.uint64(PERIOD_NS)
        plane.bonds_live["freshest_ns"] = plane.bonds_live["clock_ns"]
        live = plane.paths_live
        for _ in range(ANSWERS):
            at = live["rtt_count"][paths] % 64
            rtt_ns = self._random.normal(2e6 * self._delay_ms, 1e6).clip(1e5)
            live["rtt_ns"][paths, at] = rtt_ns
            live["forward_ns"][paths, at] = 10**15 + (rtt_ns / 2).astype(np.uint64)
            for name in ("rtt_count", "probes_sent", "probes_answered", "answered_highest", "checked"):
                live[name][paths] += 1
        for name in ("paired_sent", "paired_received"):
            live[name][paths] += 250
        plane.path_stats["tx_packets"][paths, 0] += 250
        plane.path_stats["tx_bytes"][paths, 0] += 250_000
        live["answer_stamp"][paths] = 10**15 + now_ns
        live["answer_at_ns"][paths] = now_ns
        live["proof_ns"][paths] = plane.bonds_live["clock_ns"][paths // plane.block]


def timed(file: Path) -> dict[str, float]:
    """In the lab's host: CPU time of a period, of which `best` 1 of 10 took less."""
    from pyroute2 import IPRoute

    from mpbond.config import load_file
    from mpbond.controller.assembly import make_controller

    with IPRoute() as ipr:
        controller = make_controller(load_file(file), ipr, lambda _: None)
        now_ns = time.monotonic_ns()
        controller.reconcile(now_ns)
        answers = Answers(controller.plane)
        took_ms: list[float] = []
        for _ in range(WARM_UP + PERIODS):
            now_ns += PERIOD_NS
            answers.come(now_ns)
            controller.tick(now_ns)
            began_ns = time.process_time_ns()
            controller.slow_tick(now_ns)
            took_ms.append((time.process_time_ns() - began_ns) / 1e6)
        alive = sum(path.alive for bond in controller.snapshot(now_ns).bonds for path in bond.paths)
    took_ms = sorted(took_ms[WARM_UP:])
    return {
        "paths": alive,
        "median_ms": statistics.median(took_ms),
        "best_ms": took_ms[PERIODS // 10],
        "worst_ms": took_ms[-1],
        "rss_mb": rss_mb(os.getpid()),
    }


def running_mb(lab: Lab, folder: Path, file: Path) -> float:
    """Of `mpbond up` once it has been at work for ten seconds."""
    bonds = Bonds(lab, folder)
    bonds.up_files({"a": file})
    began = time.monotonic()
    wait_for("ten seconds of work", lambda: time.monotonic() - began > 10, timeout_s=20, every_s=0.5)
    found = rss_mb(bonds.pid("a"))
    bonds.down("a")
    return found


def measure(policy: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as name, Lab(topology()) as lab:
        folder = Path(name)
        file = folder / "site.yaml"
        file.write_text(site(policy))
        file.chmod(0o600)
        mb = running_mb(lab, folder, file)
        inside = lab.inside("a", [sys.executable, __file__, "--inside", str(file)])
        found: dict[str, float] = json.loads(command(inside, timeout_s=300).splitlines()[-1])
    return {**found, "running_mb": mb}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policy", default="balance-aware")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.inside:
        print(json.dumps(timed(args.inside)))
        return
    found = measure(args.policy)
    print(f"{PEERS} peers of {LINKS} paths, {args.policy}; paths alive: {found['paths']}")
    print(
        f"a control period: {found['median_ms']:.1f} ms of CPU (median; {found['best_ms']:.1f} the tenth,"
        f" {found['worst_ms']:.1f} the worst); limit {CPU_MS:g}"
    )
    print(f"memory of the running controller: {found['running_mb']:.0f} MB; limit {RSS_MB:g}")
    sys.exit(found["median_ms"] > CPU_MS or found["running_mb"] > RSS_MB)


if __name__ == "__main__":
    main()
