"""What the scenarios are made of: each scene does one thing before the audience's
eyes, and ends with claims about it.

Everything is done as a user would, by `mpbond` on the hosts of a lab.
"""

from __future__ import annotations

import functools
from pathlib import Path

from mpbond.lab import leftovers, meter, traffic
from mpbond.lab.bonds import Bonds, inner_address
from mpbond.lab.mirror import mirrored, policies_dir
from mpbond.lab.netns import Lab, wait_for
from mpbond.lab.report import Claim, Report
from mpbond.lab.topology import link_address

RATE_MBIT = 200
FAILOVER_MS = 100
# What a 1 ms stream may lose by a silent cut: the interval, one probe's, and what a
# machine that runs two hosts and the network between them adds.
MOST_LOST = FAILOVER_MS + 50
_PEER_OF = {"a": "b", "b": "a"}
# So many that hardly ever a link gets none of them: one time in 200.
_FLOWS = 16
# Together they fit through one link: what is lost is lost by the cut, not in a queue.
# Paced by TCP itself: iperf3's own -b makes up for a pause with a burst, and a link's
# queue that overflows costs the stream a packet now and then.
_PACED_MBIT = 12


class Stage:
    """A lab with both hosts' files in `folder`, and whom to tell."""

    def __init__(self, lab: Lab, folder: Path, report: Report) -> None:
        self.lab = lab
        self.bonds = Bonds(lab, folder)
        self.report = report
        self.hosts_before = leftovers.network(lab.ns("a"), lab.ns("b"))
        self.made: set[str] = set()
        self._number = 0

    @property
    def links(self) -> int:
        return len(self.lab.topology.wires)

    def step(self, words: str) -> None:
        self._number += 1
        self.report.step(self._number, words)

    def write(self, name: str) -> dict[str, Path]:
        """The example file of that name for host a, its mirror image for host b."""
        text = (policies_dir() / name).read_text()
        files: dict[str, Path] = {}
        for host, content in (("a", text), ("b", mirrored(text))):
            folder = self.bonds.folder / host
            folder.mkdir(exist_ok=True)
            files[host] = folder / name
            files[host].write_text(content)
        return files

    def keys(self) -> None:
        """One key, the same file on both hosts."""
        self.report.command("a", ["mpbond", "keygen", "demo.key"])
        for host in ("a", "b"):
            (self.bonds.folder / host).mkdir(exist_ok=True)
        key = self.bonds.folder / "a" / "demo.key"
        self.bonds.mpbond("a", "keygen", str(key))
        (self.bonds.folder / "b" / "demo.key").write_text(key.read_text())

    def up(self, files: dict[str, Path]) -> dict[str, str]:
        """Both hosts at once, until every path works at both ends."""
        for host, file in files.items():
            self.report.command(host, ["mpbond", "up", file.name])
        said = self.bonds.up_files(files)
        for host in files:
            self.wait_eligible(host)
        self.made |= leftovers.made_by(self.lab)
        return said

    def down(self) -> None:
        for host in ("a", "b"):
            self.report.command(host, ["mpbond", "down"])
        self.bonds.down("a", "b")

    def show(self) -> None:
        words = ["bond", "show", f"host-{_PEER_OF['a']}"]
        self.report.command("a", ["mpbond", *words])
        self.report.output(self.bonds.mpbond("a", *words))

    def watch(self, seconds: float) -> dict[str, float]:
        """Mean Mbit/s by link of a stated time, shown as they are."""
        return meter.watch(self.report.console, self.bonds, meter.for_seconds(seconds), RATE_MBIT)

    # ---- what the controllers say ------------------------------------------------

    def eligible(self, host: str = "a") -> set[str]:
        paths = meter.snapshot(self.bonds, host).bonds[0].paths
        return {path.ifname for path in paths if path.eligible}

    def active(self, host: str = "a") -> str | None:
        paths = meter.snapshot(self.bonds, host).bonds[0].paths
        return next((path.ifname for path in paths if path.active), None)

    def wait_active(self, link: str) -> None:
        """At both ends: each chooses for what it sends."""
        for host in ("a", "b"):
            wait_for(f"{link} active on {host}", functools.partial(self._is_active, host, link))

    def _is_active(self, host: str, link: str) -> bool:
        return self.active(host) == link

    def wait_eligible(self, host: str = "a") -> None:
        wait_for(f"all links eligible on {host}", lambda: len(self.eligible(host)) == self.links)

    def link_of_the_stream(self) -> str:
        """The link whose counter runs: probes add a few packets to each, the stream
        a thousand a second to one."""
        before = meter.read(self.bonds, "a")

        def runs() -> str | None:
            grown = meter.packets(before, meter.read(self.bonds, "a"))
            most = max(grown, key=grown.__getitem__)
            return most if grown[most] > 200 else None

        link: str = wait_for("the stream on one link", runs)
        return link


def bring_up(stage: Stage, file_name: str) -> None:
    files = stage.write(file_name)
    stage.report.file(f"host a: {file_name}", files["a"].read_text())
    stage.up(files)


def adds_up(stage: Stage) -> list[Claim]:
    """The same TCP connections over one link and over the bond."""
    stage.report.say(
        f"{_FLOWS} TCP connections from a to b (iperf3), first over eth1 alone, without the bond:"
    )
    with traffic.iperf_server(stage.lab, "b"):
        one = traffic.tcp_bps(stage.lab, "a", link_address(1, 2), seconds=2, flows=_FLOWS) / 1e6
        stage.report.say(f"{one:.0f} Mbit/s. Now to b's address on mp0, over all links:")
        flows = traffic.tcp_flows(stage.lab, "a", inner_address("b"), seconds=4, flows=_FLOWS)
        with flows as running:
            meter.watch(stage.report.console, stage.bonds, running.ended, RATE_MBIT)
    together = running.bps() / 1e6
    seen = f"the bond carried {together:.0f} Mbit/s, {together / one:.1f} times one link's {one:.0f}"
    return [Claim(seen, "at least 1.8 times", together >= 1.8 * one)]


def cut_under_load(stage: Stage) -> list[Claim]:
    """A silent cut of a link with a stream and TCP connections on it."""
    with (
        traffic.iperf_server(stage.lab, "b"),
        traffic.stream(stage.lab, "a", "b", inner_address("b")) as stream,
    ):
        link = stage.link_of_the_stream()
        paced = f"--fq-rate {_PACED_MBIT}M"
        flows = traffic.tcp_flows(stage.lab, "a", inner_address("b"), seconds=60, flows=_FLOWS, options=paced)
        with flows:
            before = stage.watch(2)
            stage.report.say(
                f"{link}, which carries the stream, is cut now. No carrier is lost: its packets vanish."
            )
            cut_ns = stage.lab.cut(link)
            wait_for(f"{link} seen as dead", lambda: link not in stage.eligible())
            after = stage.watch(2)
            stage.report.say(f"{link} works again; the connections stay where they went.")
            back_ns = stage.lab.restore(link)
            stage.wait_eligible()
            stage.watch(1)
        report = stream.stop()
    tcp = (
        f"TCP went on over the other links: {sum(after.values()):.0f} Mbit/s after {sum(before.values()):.0f}"
    )
    return [
        *_cut_claims(stream, report.sent, cut_ns, back_ns),
        Claim(tcp, "at least half", sum(after.values()) >= sum(before.values()) / 2),
        Claim(f"nothing went over {link} while it was cut", "0 Mbit/s", after[link] < 1),
    ]


def _cut_claims(stream: traffic.Stream, sent: int, cut_ns: int, back_ns: int) -> list[Claim]:
    """Of a stream that lived through one cut and the return of the link."""
    lost, lost_by_return = stream.lost_after([cut_ns, back_ns])
    gap = stream.gap_ms(cut_ns, back_ns)
    return [
        Claim(
            f"the cut: lost {lost} of {sent} packets, gap {gap:.0f} ms",
            f"at most {MOST_LOST}; failoverInterval is {FAILOVER_MS} ms",
            lost <= MOST_LOST,
        ),
        Claim(f"the return: lost {lost_by_return}", "none", lost_by_return == 0),
    ]


def cut_the_active(stage: Stage) -> list[Claim]:
    """Active-backup: the primary goes silently and comes back."""
    stage.wait_active("eth1")
    with traffic.stream(stage.lab, "a", "b", inner_address("b")) as stream:
        stage.link_of_the_stream()
        stage.report.say("eth1, the primary, is cut.")
        cut_ns = stage.lab.cut("eth1")
        wait_for("another link active", lambda: stage.active() not in (None, "eth1"))
        other = stage.active()
        stage.report.say(f"{other} has taken over. eth1 works again:")
        back_ns = stage.lab.restore("eth1")
        stage.wait_active("eth1")
        on = stage.link_of_the_stream()
        report = stream.stop()
    return [
        *_cut_claims(stream, report.sent, cut_ns, back_ns),
        Claim(f"the stream is back on {on}", "the primary, eth1", on == "eth1"),
    ]


def kill_the_controller(stage: Stage, file: Path) -> list[Claim]:
    """`kill -9` under the stream, a while without, and `up` again."""
    with traffic.stream(stage.lab, "a", "b", inner_address("b")) as stream:
        before = meter.read(stage.bonds, "a")
        stage.report.command("a", ["kill", "-9", str(stage.bonds.pid("a"))])
        stage.bonds.kill("a")
        stage.report.say("Host a has no controller now. The packets do not notice: the kernel sends them.")
        meter.for_seconds(1)(1)  # it is the second without one that is shown
        stage.report.command("a", ["mpbond", "up", file.name])
        said = stage.bonds.up_files({"a": file})["a"]
        stage.report.output("".join(f"   {line}\n" for line in said.splitlines()))
        stage.wait_eligible()
        grown = meter.packets(before, meter.read(stage.bonds, "a"))
        report = stream.stop()
    stage.made |= leftovers.made_by(stage.lab)
    carried = sum(grown.values())
    return [
        Claim(f"killed and adopted: lost {report.lost} of {report.sent} packets", "none", report.lost == 0),
        Claim("`up` took over what was running", "says that it adopts", "adopting" in said),
        Claim(f"the counters went on, by {carried} packets", "at least 1000", carried >= 1000),
    ]


def hosts_as_before(stage: Stage) -> list[Claim]:
    """After `down`: the hosts, which are still there."""
    after = leftovers.network(stage.lab.ns("a"), stage.lab.ns("b"))
    found = leftovers.difference(stage.hosts_before, after)
    seen = "; ".join(found) or "interfaces, addresses, routes, filters of both hosts are as before"
    return [Claim(seen, "no difference", not found)]


def nothing_left(made: frozenset[str]) -> list[Claim]:
    """After the lab: of what it had made on this machine."""
    found = leftovers.still_there(made)
    kinds = ("namespace", "process", "BPF program", "BPF map")
    counts = ", ".join(f"{sum(line.startswith(kind) for line in made)} {kind}s" for kind in kinds)
    seen = f"still there: {'; '.join(found)}" if found else f"all gone: {counts}"
    return [Claim(seen.replace("processs", "processes"), "nothing left", not found)]
