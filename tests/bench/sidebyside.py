"""The bond beside what else carries packets, in one run: `make bench`.

Raw veth, VXLAN over one link and the bond over two, in alternating rounds in the
same namespaces; then two routers with a LAN behind each, plainly routed over one
link and bonded. Machines differ and are noisy: read the ratios, not the figures.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from mpbond.lab import traffic
from mpbond.lab.bonds import Bonds, inner_address, pair
from mpbond.lab.netns import Lab
from mpbond.lab.topology import CLIENT_LAN, SERVER_LAN, gateways, link_address, two_hosts

TX_COST = Path(__file__).parent / "results" / "tx_cost.txt"
POLICY = {"basePolicy": "balance-xor", "failoverInterval": 500}
Measure = Callable[[str], float]


@dataclass(frozen=True, slots=True)
class Question:
    """One row of the table: a name, a unit and how to measure it at an address."""

    name: str
    unit: str
    scale: float
    measure: Callable[[Lab, str, str], float]


# Cubic, as most hosts have it: BBR's pacing timers measure themselves. Writes of
# 1 MiB: of iperf3's 128 KiB the rest behind two super-packets is shorter or longer
# than a segment by the MTU, and a longer one costs a packet more for each write.
TCP_OPTIONS = "-C cubic -l 1M"


def _tcp(flows: int) -> Callable[[Lab, str, str], float]:
    return lambda lab, host, address: traffic.tcp_bps(
        lab, host, address, seconds=2, flows=flows, options=TCP_OPTIONS
    )


HOST_QUESTIONS = (
    Question("TCP, 1 flow", "Gbit/s", 1e9, _tcp(1)),
    Question("TCP, 4 flows", "Gbit/s", 1e9, _tcp(4)),
    Question("UDP, 64-byte frames", "kpps", 1e3, traffic.udp_pps),
)
ROUTER_QUESTIONS = (
    Question("TCP, 1 flow", "Gbit/s", 1e9, _tcp(1)),
    Question("TCP, 4 flows", "Gbit/s", 1e9, _tcp(4)),
)


def add_vxlan(lab: Lab, link: int) -> None:
    """vx0 on both hosts over one link; 10.88.0.1 and .2."""
    for host, last, peer in (("a", 1, 2), ("b", 2, 1)):
        words = f"ip link add vx0 type vxlan id 9 dstport 4789 dev eth{link} local {link_address(link, last)}"
        lab.run(host, [*words.split(), "remote", link_address(link, peer)])
        lab.run(host, ["ip", "addr", "add", f"10.88.0.{last}/24", "dev", "vx0"])
        lab.run(host, ["ip", "link", "set", "vx0", "up"])


def rounds(
    lab: Lab, host: str, ways: dict[str, str], questions: tuple[Question, ...], count: int
) -> dict[tuple[str, str], list[float]]:
    """(question, way) -> one figure a round; the ways take turns."""
    figures: dict[tuple[str, str], list[float]] = {}
    for number in range(count):
        print(f"round {number + 1} of {count}", flush=True)
        for question in questions:
            for way, address in ways.items():
                figures.setdefault((question.name, way), []).append(question.measure(lab, host, address))
    return figures


def show(
    title: str, ways: list[str], questions: tuple[Question, ...], figures: dict[tuple[str, str], list[float]]
) -> Table:
    """Median (lowest, highest) of each, and the last way's ratio to the others,
    taken round by round."""
    last = ways[-1]
    table = Table(title=title)
    table.add_column("")
    for way in ways:
        table.add_column(way, justify="right")
    for way in ways[:-1]:
        table.add_column(f"{last} / {way}", justify="right")
    for question in questions:
        row = [f"{question.name}, {question.unit}"]
        for way in ways:
            values = [value / question.scale for value in figures[question.name, way]]
            row.append(f"{statistics.median(values):.1f} ({min(values):.1f}, {max(values):.1f})")
        for way in ways[:-1]:
            pairs = zip(figures[question.name, last], figures[question.name, way], strict=True)
            row.append(f"{statistics.median(mine / other for mine, other in pairs):.2f}")
        table.add_row(*row)
    return table


def hosts(count: int, folder: Path) -> Table:
    """Host to host."""
    with Lab(two_hosts(3, guarded=False)) as lab, traffic.iperf_server(lab, "b"):
        bonds = Bonds(lab, folder)
        ends = [[link_address(link, end) for link in (1, 2)] for end in (1, 2)]
        bonds.up(*pair(ends[0], ends[1], POLICY))
        bonds.wait_eligible("a", "b", 2)
        add_vxlan(lab, 3)
        ways = {
            "raw link": link_address(3, 2),
            "VXLAN, 1 link": "10.88.0.2",
            "bond, 2 links": inner_address("b"),
        }
        figures = rounds(lab, "a", ways, HOST_QUESTIONS, count)
        bonds.down("a", "b")
    return show("host to host", list(ways), HOST_QUESTIONS, figures)


def routers(count: int, folder: Path, version: int) -> Table:
    """Client to server through two routers: a second pair of LAN addresses is routed
    plainly over the first link, so that both ways exist at once."""
    plain = {4: ("192.168.81.2", "192.168.82.2"), 6: ("fd81::2", "fd82::2")}[version]
    with Lab(gateways(2)) as lab, traffic.iperf_server(lab, "server"):
        _plain_routes(lab, *plain, version)
        bonds = Bonds(lab, folder)
        ends = [[link_address(link, end) for link in (1, 2)] for end in (1, 2)]
        site_a, site_b = pair(ends[0], ends[1], POLICY)
        site_a.allowed, site_b.allowed = {"b": list(SERVER_LAN)}, {"a": list(CLIENT_LAN)}
        bonds.up(site_a, site_b)
        bonds.wait_eligible("a", "b", 2)
        bonds.wait_eligible("b", "a", 2)
        bonded = "192.168.72.2" if version == 4 else "fd72::2"
        ways = {"routed, raw link": plain[1], "bonded, 2 links": bonded}
        figures = rounds(lab, "client", ways, ROUTER_QUESTIONS, count)
        bonds.down("a", "b")
    return show(f"through two routers, IPv{version}", list(ways), ROUTER_QUESTIONS, figures)


def _plain_routes(lab: Lab, client: str, server: str, version: int) -> None:
    size = "32" if version == 4 else "128"
    lab.run("client", ["ip", "addr", "add", f"{client}/{size}", "dev", "lan0"])
    lab.run("server", ["ip", "addr", "add", f"{server}/{size}", "dev", "lan0"])
    near, far = link_address(1, 1, version), link_address(1, 2, version)
    lab.run("a", ["ip", "route", "add", f"{server}/{size}", "via", far])
    lab.run("b", ["ip", "route", "add", f"{client}/{size}", "via", near])
    lan = ("192.168.71.2", "192.168.72.2") if version == 4 else ("fd71::2", "fd72::2")
    lab.run("a", ["ip", "route", "add", f"{client}/{size}", "via", lan[0]])
    lab.run("b", ["ip", "route", "add", f"{server}/{size}", "via", lan[1]])
    gateway = "192.168.71.1" if version == 4 else "fd71::1"
    lab.run("client", ["ip", "route", "add", f"{server}/{size}", "via", gateway, "src", client])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=["hosts", "routers"])
    args = parser.parse_args()
    tables: list[Table] = []
    with tempfile.TemporaryDirectory(prefix="mpbond-bench-") as folder:
        if args.only != "routers":
            tables.append(hosts(args.rounds, Path(folder)))
        if args.only != "hosts":
            tables += [routers(args.rounds, Path(folder), version) for version in (4, 6)]
    console = Console(width=130)
    for table in tables:
        console.print(table)
    if TX_COST.exists():
        print(f"cost of tx, by BPF_PROG_TEST_RUN:\n{TX_COST.read_text()}")


if __name__ == "__main__":
    main()
