"""Measurements beside the truth: what a bond reports, and what its wires really did.

`python tests/bench/measured.py` (root): two bonds at once over emulated wires for a
minute, one with a stream of 1,000 packets a second over wires of all delays,
jitters and losses, one with probes alone over wires that damage packets. Exit 1
where a value is too far off.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from mpbond.lab.schedule import Impairment
from tests.netns.truth import Bundle, Compared, compare_at_once, damaging

# Every delay with every jitter; losses in turn.
LOSSY = Bundle(
    "lossy",
    [
        Impairment(10, 0, 0),
        Impairment(10, 5, 1),
        Impairment(10, 20, 10),
        Impairment(50, 0, 10),
        Impairment(50, 5, 0.1),
        Impairment(50, 20, 1),
        Impairment(200, 0, 1),
        Impairment(200, 5, 10),
        Impairment(200, 20, 0.1),
    ],
    failover_ms=100,
    interval_us=1000,
)
HEADS = ("delay", "jitter", "loss", "damage", "latency", "pdv", "plr", "per", "too far off")


def row(compared: Compared) -> str:
    """Reported (true) where there was something to report."""
    wire, reported, true = compared.wire, compared.reported, compared.true
    cells = [
        f"{wire.delay_ms:g} ms",
        f"{wire.jitter_ms:g} ms",
        f"{wire.loss:g}%",
        f"{wire.corrupt:g}%",
        f"{reported.latency_ms:.2f} ({true.latency_ms:.2f})",
        f"{reported.pdv_ms:.2f} ({true.pdv_ms:.2f})",
        f"{100 * reported.plr:.3f}% ({100 * true.plr:.3f}%)",
        f"{100 * reported.per:.3f}% ({100 * true.per:.3f}%)",
        ", ".join(compared.misses()) or "-",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = compare_at_once(Path(folder), [LOSSY, damaging(10, 50, 200)], args.seconds)
    print(f"| {' | '.join(HEADS)} |")
    print("|---" * len(HEADS) + "|")
    for compared in found:
        print(row(compared))
    sys.exit(any(compared.misses() for compared in found))


if __name__ == "__main__":
    main()
