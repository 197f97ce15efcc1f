"""`mpbond lab run demo`: one bond over two links, shown working and failing over.

Everything is done as a user would, by `mpbond` on two hosts; the lab goes when it
is over.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.syntax import Syntax

from mpbond.errors import Unsupported
from mpbond.lab import leftovers, traffic
from mpbond.lab.bonds import NODE_IDS, Bonds, Site, inner_address, pair
from mpbond.lab.netns import Lab, wait_for
from mpbond.lab.topology import link_address, two_hosts

LINKS = (1, 2)
RATE_MBIT = 100
FAILOVER_MS = 100
_FLOWS = 8
_SECONDS = 3

console = Console(soft_wrap=True, highlight=False)


def _step(words: str) -> None:
    console.print(f"\n[bold]{words}[/bold]")


def _sites() -> tuple[Site, Site]:
    ends = [[link_address(link, end) for link in LINKS] for end in (1, 2)]
    return pair(ends[0], ends[1], {"basePolicy": "balance-xor", "failoverInterval": FAILOVER_MS})


def _up(bonds: Bonds) -> None:
    site_a, site_b = _sites()
    _step("Host a's site.yaml (b's is its mirror image), and `mpbond up site.yaml` on both")
    shown = site_a.as_yaml().replace(site_a.key, "(64 hex digits of `mpbond keygen`)")
    console.print(Panel(Syntax(shown, "yaml", background_color="default"), title="site-a.yaml", width=78))
    bonds.up(site_a, site_b)
    for host, peer in (("a", "b"), ("b", "a")):
        bonds.wait_eligible(host, peer, len(LINKS))
    _show(bonds)


def _show(bonds: Bonds) -> None:
    console.print(f"a# mpbond bond {NODE_IDS['b']} show", style="dim")
    console.print(bonds.mpbond("a", "bond", "show", NODE_IDS["b"]), markup=False)


def _throughput(lab: Lab) -> None:
    _step(f"Throughput a to b, {_FLOWS} TCP flows, {_SECONDS} s each")
    with traffic.iperf_server(lab, "b"):
        for name, address in (("eth1 alone", link_address(1, 2)), ("the bond", inner_address("b"))):
            mbit = traffic.tcp_bps(lab, "a", address, seconds=_SECONDS, flows=_FLOWS) / 1e6
            console.print(f"  {name:<10} {mbit:6.1f} Mbit/s")


def _sent(bonds: Bonds) -> dict[str, int]:
    return {path["ifname"]: path["txPackets"] for path in bonds.show("a", "b")["paths"]}


def _link_of_the_stream(bonds: Bonds) -> str:
    """The link whose counter runs: probes add a few packets to each, the stream a
    thousand a second to one."""
    before = _sent(bonds)

    def runs() -> str | None:
        grown = {ifname: count - before[ifname] for ifname, count in _sent(bonds).items()}
        most = max(grown, key=grown.__getitem__)
        return most if grown[most] > 200 else None

    link: str = wait_for("the stream on one link", runs)
    return link


def _failover(bonds: Bonds) -> None:
    _step("A packet every millisecond from a to b, and its link is cut without a sign")
    with traffic.stream(bonds.lab, "a", "b", inner_address("b")) as stream:
        link = _link_of_the_stream(bonds)
        cut_at = bonds.lab.cut(link)
        wait_for(f"{link} seen as dead", lambda: bonds.show("a", "b")["numAliveLinks"] < len(LINKS))
        _show(bonds)
        bonds.lab.restore(link)
        bonds.wait_eligible("a", "b", len(LINKS))
        report = stream.stop()
    lost = stream.lost_after([cut_at])[0]
    console.print(
        f"  {link} was cut, and later mended: {report.sent} packets sent, {lost} lost, "
        f"{report.duplicated} duplicated; failoverInterval is {FAILOVER_MS} ms"
    )


def main() -> None:
    """Plays the demo. Raises Unsupported without root, LabError where a step fails."""
    if os.geteuid() != 0:
        raise Unsupported("the demo", "makes network namespaces: run it as root")
    console.print(f"Two hosts, a and b, joined by two links of {RATE_MBIT} Mbit/s.")
    topology = two_hosts(len(LINKS)).with_wires(rate_mbit=RATE_MBIT)
    with tempfile.TemporaryDirectory(prefix="mpbond-demo-") as folder, Lab(topology) as lab:
        bonds = Bonds(lab, Path(folder))
        before = leftovers.network(lab.ns("a"), lab.ns("b"))
        _up(bonds)
        _throughput(lab)
        _failover(bonds)
        _step("`mpbond down` on both")
        bonds.down("a", "b")
        left = leftovers.difference(before, leftovers.network(lab.ns("a"), lab.ns("b")))
        console.print("  " + ("\n  ".join(left) or "Both hosts are as they were before."), markup=False)
    console.print("The lab is gone.")
