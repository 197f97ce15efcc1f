"""What emulated wires carry at once, and how true their delay is then.

`python tests/bench/emulated.py` (root): for one, two and three wires, UDP of 1,400
bytes of payload over each at the same time, through the relay.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from mpbond.lab import traffic
from mpbond.lab.netns import Lab, command, wait_for
from mpbond.lab.topology import link_address, two_hosts

_PORT = 5200
_LENGTH = 1400 + 42


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _measure(table: Table, wires: int, mbit: float, delay_ms: float, seconds: int) -> None:
    names = [f"eth{number}" for number in range(1, wires + 1)]
    with Lab(two_hosts(wires).emulated(), emulator="relay") as lab, ExitStack() as stack:
        relays = command(["ip", "netns", "pids", lab.ns("mid")]).split()
        for number, name in enumerate(names, 1):
            lab.emulate(name, delay_ms=delay_ms)
            stack.enter_context(traffic.iperf_server(lab, "b", _PORT + number))
        with ExitStack() as logs:
            recorded = [logs.enter_context(lab.emulation_log(name)) for name in names]
            before_s = [_cpu_s(int(pid)) for pid in relays]
            clients = [
                lab.start(
                    "a",
                    f"iperf3 -c {link_address(number, 2)} -p {_PORT + number} -t {seconds}"
                    f" -u -b {mbit}M -l 1400 -J".split(),
                    stdout=subprocess.PIPE,
                    text=True,
                )
                for number in range(1, wires + 1)
            ]
            said = [json.loads(client.communicate()[0])["end"]["sum"] for client in clients]
            wait_for("all through", lambda: not any(_held(lab, name) for name in names))
            cpu_s = [_cpu_s(int(pid)) - so_far for pid, so_far in zip(relays, before_s, strict=True)]
    for name, log, iperf in zip(names, recorded, said, strict=True):
        packets = log.of("a->b")
        packets = packets[packets["length"] == _LENGTH]
        passed = packets[packets["verdict"] == 0]
        took_s = (passed["out_ns"].max() - passed["out_ns"].min()) / 1e9
        off_ms = (passed["out_ns"] - passed["in_ns"]) / 1e6 - delay_ms
        table.add_row(
            f"{name} of {wires}",
            f"{passed['length'].sum() * 8 / took_s / 1e6:.1f}",
            f"{100 * (1 - len(passed) / (len(packets) + log.missed)):.3f}%",
            f"{iperf['lost_percent']:.3f}%",
            f"{off_ms.mean():+.2f}",
            *(f"{value:+.2f}" for value in np.percentile(off_ms, [99, 100])),
            f"{100 * sum(cpu_s) / len(cpu_s) / seconds:.0f}%",
        )


def _held(lab: Lab, name: str) -> int:
    held: int = lab.emulation(name)["directions"]["a->b"]["held"]
    return held


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mbit", type=float, default=100, help="of payload, on each wire")
    parser.add_argument("--delay-ms", type=float, default=20)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--wires", type=int, nargs="*", default=[1, 2, 3])
    args = parser.parse_args()
    table = Table("wire", "Mbit/s", "lost", "by iperf3", "late, ms", "99%", "most", "CPU")
    for wires in args.wires:
        _measure(table, wires, args.mbit, args.delay_ms, args.seconds)
    Console().print(table)


if __name__ == "__main__":
    main()
