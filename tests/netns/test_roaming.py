"""Peers that move, and NATs that forget: routers with nftables between the hosts.

a is behind both routers' NAT; b knows either the addresses that a has at first, or none.
A mapping changes by dropping what the kernel tracks and masquerading anew.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from mpbond.lab import traffic
from mpbond.lab.bonds import Bonds, Site, inner_address, pair, strangers
from mpbond.lab.netns import wait_for
from mpbond.lab.topology import (
    End,
    Host,
    Topology,
    Wire,
    link_address,
    routed_address,
    routed_hosts,
    two_hosts,
)
from mpbond.lab.traffic import Stream
from mpbond.sessions import new_key
from tests.netns.conftest import path_on, xor
from tests.netns.test_trust import keys, reasons

pytestmark = [pytest.mark.root, pytest.mark.netns]

BondsOn = Callable[[Topology], Bonds]

LINKS = (1, 2)
FAILOVER_MS = 400
INTERVAL_MS = FAILOVER_MS / 4
# Two probe intervals, the round trip of veths, what two busy CPUs may add, and the
# millisecond between two packets of the stream.
BACK_MS = 2 * INTERVAL_MS + 1 + 20 + 1
# What a's controller may take to read its host anew.
READ_MS = 100
TOOL = str(Path(__file__).with_name("attacker.py"))
ATTACKER = "10.78.91.1"
FIRST, OTHER = "9944", "30000-40000"
# The kernel's own call: no tool for it is needed.
FLUSH = "from pyroute2.netlink.nfnetlink.nfctsocket import NFCTSocket; NFCTSocket().flush()"


def with_attacker() -> Topology:
    """x hangs on r1, and has an address of its own."""
    base = routed_hosts(len(LINKS))
    wire = Wire(
        "x", End("x", "x0", (f"{ATTACKER}/24",)), End("r1", "x0", ("10.78.91.254/24",)), guarded=False
    )
    hosts = (*base.hosts, Host("x", (("0.0.0.0/0", "10.78.91.254", "x0", 0),)))
    return replace(base, hosts=hosts, wires=(*base.wires, wire))


def router_address(link: int, last: int = 254) -> str:
    """Of router `link` towards b."""
    return f"10.78.{link * 10 + 2}.{last}"


@dataclass(slots=True)
class Nat:
    """Both routers' NAT of what comes from a."""

    bonds: Bonds

    def become(self, *, ports: str, last: int = 254) -> int:
        """From now on a appears with these ports, at the router's address that ends in
        `last`; at what time nothing had changed yet, in ns."""
        for link in LINKS:
            address = router_address(link, last)
            if last != 254:
                self.bonds.lab.run(
                    f"r{link}", ["ip", "address", "replace", f"{address}/24", "dev", f"b{link}"]
                )
            rule = f"ip saddr {routed_address(link, 1)} ip protocol udp snat to {address}:{ports}"
            # What no mapping claims is dropped, as home routers do: so it makes none either.
            rules = f"""
                table ip nat
                delete table ip nat
                table ip nat {{
                    chain post {{
                        type nat hook postrouting priority 100
                        oifname b{link} {rule}
                    }}
                    chain in {{
                        type filter hook input priority 0
                        iifname b{link} udp dport 9944 drop
                    }}
                }}
            """
            file = self.bonds.folder / f"nat{link}.nft"
            file.write_text(rules)
            self.bonds.lab.run(f"r{link}", ["nft", "-f", str(file)])
        before_ns = time.time_ns()
        for link in LINKS:
            self.bonds.lab.run(f"r{link}", [sys.executable, "-c", FLUSH])
        return before_ns


def sites(*, endpoints_of_a: bool, key: str = "") -> tuple[Site, Site]:
    """b in a's file; a in b's as it is seen first, or not at all. Public keys, or `key`."""
    of_b = [{"address": routed_address(link, 2), "link": f"eth{link}"} for link in LINKS]
    of_a = [{"address": router_address(link), "link": f"eth{link}"} for link in LINKS]
    privates = {} if key else strangers("a", "b")
    return pair(of_a if endpoints_of_a else [], of_b, xor(FAILOVER_MS), key=key, privates=privates)


def up(bonds: Bonds, site_a: Site, site_b: Site) -> Nat:
    nat = Nat(bonds)
    nat.become(ports=FIRST)
    bonds.up(site_a, site_b)
    for host, peer in (("a", "b"), ("b", "a")):
        bonds.wait_eligible(host, peer, len(LINKS))
    return nat


@contextmanager
def streams(bonds: Bonds) -> Iterator[tuple[Stream, Stream]]:
    """A packet a millisecond, a to b and b to a."""
    with (
        traffic.stream(bonds.lab, "a", "b", inner_address("b")) as there,
        traffic.stream(bonds.lab, "b", "a", inner_address("a")) as back,
    ):
        yield there, back


def addresses(bonds: Bonds) -> dict[str, str]:
    """b's paths to a: link -> where they lead."""
    return {path["ifname"]: path["address"] for path in bonds.peek("b", "a")["paths"]}


def handshakes(bonds: Bonds) -> list[int]:
    return [
        reasons(bonds, host)[name]
        for host in ("a", "b")
        for name in ("handshake_answered", "handshake_completed")
    ]


def check_followed(bonds: Bonds, change: Callable[[], int], *, trusted: bool = True) -> None:
    """Streams both ways through a change: back in time, by the same session."""
    before = handshakes(bonds) if trusted else []
    moved_from = addresses(bonds)
    with streams(bonds) as (there, back):
        changed_ns = change()
        wait_for(
            "b has followed",
            lambda: all(addresses(bonds)[link] != moved_from[link] for link in moved_from),
        )
        bonds.wait_eligible("b", "a", len(LINKS))
        reports = there.stop(), back.stop()
    gaps = [stream.gap_ms(changed_ns) for stream in (there, back)]
    print(f"gap a to b {gaps[0]} ms, b to a {gaps[1]} ms, lost {[report.lost for report in reports]}")
    assert max(gaps) <= BACK_MS, f"back within {BACK_MS} ms"
    for host, peer in (("a", "b"), ("b", "a")):
        assert bonds.peek(host, peer)["failoverEvents"] == 0
    if trusted:
        assert handshakes(bonds) == before, "no handshake"
    assert all(path["learnt"] for path in bonds.peek("b", "a")["paths"])


@pytest.mark.parametrize("endpoints", [True, False], ids=["file's endpoints", "no endpoints"])
def test_port_mapping_changes(bonds_on: BondsOn, endpoints: bool) -> None:
    bonds = bonds_on(with_attacker())
    nat = up(bonds, *sites(endpoints_of_a=endpoints))
    check_followed(bonds, lambda: nat.become(ports=OTHER))
    assert all(30_000 <= int(address.rpartition(":")[2]) <= 40_000 for address in addresses(bonds).values())
    events = [json.loads(line) for line in bonds.mpbond("b", "bond", "events", "-j").splitlines()]
    told = [event["cause"] for event in events if event["kind"] == "endpoint" and event["path"] is not None]
    assert len(told) >= 2 and all("learnt" in cause for cause in told)


@pytest.mark.parametrize("endpoints", [True, False], ids=["file's endpoints", "no endpoints"])
def test_address_changes(bonds_on: BondsOn, endpoints: bool) -> None:
    """b is near the routers, so even the next hop is another one."""
    bonds = bonds_on(with_attacker())
    nat = up(bonds, *sites(endpoints_of_a=endpoints))
    check_followed(bonds, lambda: nat.become(ports=OTHER, last=253))
    assert all(".253:" in address for address in addresses(bonds).values())


@pytest.mark.parametrize("version", [4, 6])
def test_a_host_changes_its_address(bonds_on: BondsOn, version: int) -> None:
    """No NAT, one link: a's path begins anew under its old number, b's follows it, to a next
    hop that it never knew."""
    bonds = bonds_on(two_hosts(1))
    ends = [[link_address(1, end, version)] for end in (1, 2)]
    bonds.up(*pair(ends[0], ends[1], xor(FAILOVER_MS), key="", privates=strangers("a", "b")))
    for host, peer in (("a", "b"), ("b", "a")):
        bonds.wait_eligible(host, peer, 1)
    old, new = link_address(1, 1, version), link_address(1, 7, version)
    length = 24 if version == 4 else 64
    before = handshakes(bonds)
    with streams(bonds) as (there, back):
        changed_ns = time.time_ns()
        bonds.lab.run("a", ["ip", "address", "del", f"{old}/{length}", "dev", "eth1"])
        bonds.lab.run("a", ["ip", "address", "add", f"{new}/{length}", "dev", "eth1"])
        wait_for("b has followed", lambda: f"{new}]" in addresses(bonds)["eth1"].replace(":9944", "]"))
        bonds.wait_eligible("a", "b", 1)
        reports = there.stop(), back.stop()
    gaps = [stream.gap_ms(changed_ns) for stream in (there, back)]
    print(f"gap a to b {gaps[0]} ms, b to a {gaps[1]} ms, lost {[report.lost for report in reports]}")
    assert max(gaps) <= BACK_MS + READ_MS
    assert handshakes(bonds) == before, "no handshake"


@pytest.mark.parametrize("endpoints", [True, False], ids=["file's endpoints", "no endpoints"])
def test_shared_key(bonds_on: BondsOn, endpoints: bool) -> None:
    bonds = bonds_on(with_attacker())
    nat = up(bonds, *sites(endpoints_of_a=endpoints, key=new_key().strip()))
    check_followed(bonds, lambda: nat.become(ports=OTHER), trusted=False)


def test_peer_without_endpoints_is_waited_for(bonds_on: BondsOn) -> None:
    """`up` and `bond show` say so; then it comes, over both links."""
    bonds = bonds_on(with_attacker())
    site_a, site_b = sites(endpoints_of_a=False)
    Nat(bonds).become(ports=FIRST)
    said = bonds.up_files({"b": bonds.write(site_b)})["b"]
    assert "the file has no endpoints of it, so it has to begin" in said
    assert "the file has no endpoints of the peer" in bonds.mpbond("b", "bond", "show", "host-a")
    assert bonds.peek("b", "a")["paths"] == []
    bonds.up(site_a)
    began = time.monotonic()
    bonds.wait_eligible("b", "a", len(LINKS))
    print(f"both paths {time.monotonic() - began:.2f} s after up")
    assert set(addresses(bonds)) == {"eth1", "eth2"}
    assert "(learnt)" in bonds.mpbond("b", "bond", "show", "host-a")
    assert traffic.ping(bonds.lab, "b", inner_address("a"))


@pytest.mark.parametrize("endpoints", [True, False], ids=["file's endpoints", "no endpoints"])
def test_adopted_after_a_kill(bonds_on: BondsOn, endpoints: bool) -> None:
    """What was learnt outlives the controller that saw it, and one that never did."""
    bonds = bonds_on(with_attacker())
    nat = up(bonds, *sites(endpoints_of_a=endpoints))
    nat.become(ports="20000-20100")
    wait_for("b has followed", lambda: all(":20" in address for address in addresses(bonds).values()))
    with streams(bonds) as (there, back):
        bonds.kill("b")
        nat.become(ports=OTHER, last=253)
        wait_for("b's kernel has followed", lambda: answered(bonds))
        renewed = keys(bonds, "a")["rekeys"]
        assert "adopting" in bonds.mpbond("b", "up", str(bonds.folder / "site-b.yaml"))
        bonds.wait_eligible("b", "a", len(LINKS))
        reports = there.stop(), back.stop()
    print(f"lost {[report.lost for report in reports]}")
    assert all(".253:3" in address for address in addresses(bonds).values())
    assert all(path["learnt"] for path in bonds.peek("b", "a")["paths"])
    # Its control keys died with the controller before: it asks for another session.
    wait_for("another session", lambda: keys(bonds, "a")["rekeys"] > renewed)
    assert traffic.ping(bonds.lab, "b", inner_address("a"))


def answered(bonds: Bonds) -> bool:
    return bool(all(path["alive"] for path in bonds.peek("a", "b")["paths"])) and traffic.ping(
        bonds.lab, "b", inner_address("a")
    )


def replay(bonds: Bonds, seconds: float = 2.0) -> int:
    """Probes of a, recorded at the router, from x's own address to b; how many."""
    recorder: Any = bonds.lab.start(
        "r1", [sys.executable, TOOL, "record", "1.5", "1"], stdout=subprocess.PIPE, text=True
    )
    said, _ = recorder.communicate(timeout=30)
    to = routed_address(1, 2)
    recorded = [payload for there, payload in json.loads(said.splitlines()[-1]) if there == to]
    assert len(recorded) >= 5
    sender: Any = bonds.lab.start(
        "x",
        [sys.executable, TOOL, "send", to, str(seconds), "500", ATTACKER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    sent, _ = sender.communicate(json.dumps(recorded), timeout=30)
    return int(sent)


@pytest.mark.parametrize("endpoints", [True, False], ids=["file's endpoints", "no endpoints"])
@pytest.mark.parametrize("shared", [False, True], ids=["public keys", "shared key"])
def test_replayed_probes_move_nothing(bonds_on: BondsOn, endpoints: bool, shared: bool) -> None:
    """From an address of the attacker's own, while a stream runs."""
    bonds = bonds_on(with_attacker())
    up(bonds, *sites(endpoints_of_a=endpoints, key=new_key().strip() if shared else ""))
    before, counted = addresses(bonds), reasons(bonds, "b")
    with streams(bonds) as (there, back):
        sent = replay(bonds)
        reports = there.stop(), back.stop()
    assert addresses(bonds) == before
    assert all((report.lost, report.duplicated) == (0, 0) for report in reports), reports
    name = "rx_probe_answered" if shared else "rx_replayed"
    assert reasons(bonds, "b")[name] - counted[name] >= sent, "every one counted"
    assert bonds.peek("b", "a")["failoverEvents"] == 0


def test_back_to_the_files_endpoint(bonds_on: BondsOn) -> None:
    """Once nothing has come from the learnt one for long."""
    bonds = bonds_on(with_attacker())
    nat = up(bonds, *sites(endpoints_of_a=True))
    first = addresses(bonds)
    nat.become(ports=OTHER)
    wait_for("b has followed", lambda: addresses(bonds) != first)
    for link in LINKS:
        bonds.lab.cut(f"a{link}")
    wait_for("b has given it up", lambda: addresses(bonds) == first, timeout_s=20)
    assert not path_on(bonds.peek("b", "a"), "eth1")["learnt"]
