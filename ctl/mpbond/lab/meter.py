"""What goes over each link of a bond, while it goes.

Asks the controller by its socket, as `mpbond bond show` does: starting that command
twice a second would be most of what a small machine does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console
from rich.live import Live
from rich.table import Table

from mpbond.controller.socket import ask
from mpbond.lab.bonds import Bonds
from mpbond.rundir import RunDir
from mpbond.snapshot import Snapshot, from_json
from mpbond.view import human_count

_LIVE_EVERY_S = 0.5
_PLAIN_EVERY_S = 1.0
_BAR = 24
_COLUMNS = (("   link", "l", 8), ("Mbit/s", "r", 7), ("", "l", _BAR), ("sent here", "r", 9))

# Waits so many seconds at most; True once there is nothing more to watch.
Until = Callable[[float], bool]


@dataclass(frozen=True, slots=True)
class Reading:
    """Sent by one host so far: link -> (packets, bytes)."""

    at_s: float
    sent: dict[str, tuple[int, int]]


def snapshot(bonds: Bonds, host: str) -> Snapshot:
    return from_json(ask(RunDir(bonds.run_dir(host)).socket("mp0"), "snapshot"))


def read(bonds: Bonds, host: str) -> Reading:
    sent: dict[str, tuple[int, int]] = {}
    for path in snapshot(bonds, host).bonds[0].paths:
        packets, size = sent.get(path.ifname, (0, 0))
        sent[path.ifname] = (packets + path.txPackets, size + path.txBytes)
    return Reading(time.monotonic(), sent)


def mbit(before: Reading, after: Reading) -> dict[str, float]:
    """Mbit/s by link between two readings."""
    seconds = max(after.at_s - before.at_s, 1e-9)
    return {
        link: (size - before.sent.get(link, (0, 0))[1]) * 8 / 1e6 / seconds
        for link, (_, size) in after.sent.items()
    }


def packets(before: Reading, after: Reading) -> dict[str, int]:
    """Packets by link between two readings."""
    return {link: count - before.sent.get(link, (0, 0))[0] for link, (count, _) in after.sent.items()}


def table(first: Reading, rates: dict[str, float], now: Reading, full_mbit: float) -> Table:
    """One line a link; `full_mbit` is where the bar ends."""
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    # Widths that do not depend on the values: a table that moves must not jump.
    for name, justify, width in _COLUMNS:
        shown.add_column(name, justify="right" if justify == "r" else "left", min_width=width, no_wrap=True)
    for link, (_, size) in now.sent.items():
        filled = min(_BAR, round(_BAR * rates[link] / full_mbit))
        sent = size - first.sent.get(link, (0, 0))[1]
        shown.add_row(f"   {link}", f"{rates[link]:.1f}", "█" * filled, human_count(sent))
    shown.add_row("   all", f"{sum(rates.values()):.1f}")
    return shown


def line(first: Reading, rates: dict[str, float], now: Reading) -> str:
    """The same in one line, for logs."""
    links = "  ".join(f"{link} {rate:6.1f}" for link, rate in rates.items())
    return f"   {now.at_s - first.at_s:4.1f} s  {links}  all {sum(rates.values()):6.1f} Mbit/s"


def watch(console: Console, bonds: Bonds, until: Until, full_mbit: float) -> dict[str, float]:
    """Shows what host a sends until told, and returns the mean rates: a table that
    moves on a terminal, else a line each second."""
    first = read(bonds, "a")
    show = _watch_live if console.is_terminal else _watch_lines
    show(console, bonds, until, first, full_mbit)
    now = read(bonds, "a")
    rates = mbit(first, now)
    if console.is_terminal:
        console.print(line(first, rates, now), highlight=False)
    return rates


def _watch_live(console: Console, bonds: Bonds, until: Until, first: Reading, full_mbit: float) -> None:
    before = first
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while not until(_LIVE_EVERY_S):
            now = read(bonds, "a")
            live.update(table(first, mbit(before, now), now, full_mbit), refresh=True)
            before = now


def _watch_lines(console: Console, bonds: Bonds, until: Until, first: Reading, _: float) -> None:
    before, ended = first, False
    while not ended:
        ended = until(_PLAIN_EVERY_S)
        now = read(bonds, "a")
        # What is left of a second at the end is too short to say anything.
        if not ended or now.at_s - before.at_s > _PLAIN_EVERY_S / 2:
            console.print(line(first, mbit(before, now), now), highlight=False)
        before = now


def for_seconds(seconds: float) -> Until:
    """Watches for a stated time."""
    end = time.monotonic() + seconds

    def until(at_most_s: float) -> bool:
        time.sleep(max(0.0, min(at_most_s, end - time.monotonic())))
        return time.monotonic() >= end

    return until
