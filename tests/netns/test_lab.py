"""The lab itself: what the other tests measure with has to be right first."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mpbond.lab import leftovers, traffic
from mpbond.lab.netns import Lab, LabError, namespaces, wait_for
from mpbond.lab.topology import (
    TOPOLOGIES,
    Topology,
    Wire,
    gateways,
    link_address,
    routed_address,
    routed_hosts,
    two_hosts,
)

pytestmark = [pytest.mark.root, pytest.mark.netns]
MakeLab = Callable[[Topology], Lab]

# Coarse: this checks the lab, not the machine.
RATE_TOLERANCE = 0.15
IN_FLIGHT_NS = 50_000_000


def bare(address: str) -> str:
    return address.split("/")[0]


def ping_across(lab: Lab, wire: Wire) -> list[str]:
    """Addresses of either end of `wire` that do not answer the other."""
    pairs = [(wire.a.host, wire.b), (wire.b.host, wire.a)]
    ways = [(host, bare(address)) for host, end in pairs for address in end.addresses]
    return [f"{host} to {address}" for host, address in ways if not traffic.ping(lab, host, address)]


BUILT = {name: make() for name, make in TOPOLOGIES.items()} | {
    "plain": two_hosts(2, guarded=False),
    "plain-gateways": gateways(2, guarded=False),
    "guarded-gateways": gateways(1, guarded=True),
    **{f"emulated-{name}": make().emulated() for name, make in TOPOLOGIES.items()},
}


@pytest.mark.parametrize("topology", BUILT.values(), ids=BUILT.keys())
def test_every_wire_carries_both_families_at_once(make_lab: MakeLab, topology: Topology) -> None:
    """No waiting after the lab is made: addresses are usable, neighbours answer."""
    lab = make_lab(topology)
    assert [failed for wire in topology.wires for failed in ping_across(lab, wire)] == []


@pytest.mark.parametrize("version", [4, 6])
def test_each_default_route_leads_to_its_own_router(make_lab: MakeLab, version: int) -> None:
    """Without policy routing the kernel uses the first alone; the others are there
    for whoever asks by interface, as the controller does."""
    lab = make_lab(routed_hosts(2))
    assert traffic.ping(lab, "a", routed_address(1, 2, version))
    for link in (1, 2):
        gateway = bare(lab.topology.wire(f"a{link}").b.addresses[0 if version == 4 else 1])
        words = ["ip", f"-{version}", "route", "get", routed_address(link, 2, version), "oif", f"eth{link}"]
        assert f"via {gateway} dev eth{link}" in lab.run("a", words)


@pytest.mark.parametrize("direction", ["both", "a->b", "b->a"])
def test_cut_is_silent_and_has_a_direction(make_lab: MakeLab, direction: str) -> None:
    """One-way streams show which way is shut; the other wire and carriers notice nothing."""
    lab = make_lab(two_hosts(2))
    ends = {"a->b": ("a", "b", link_address(1, 2)), "b->a": ("b", "a", link_address(1, 1))}
    ping_across(lab, lab.topology.wire("eth1"))
    lab.cut("eth1", direction)
    for way, (source, target, address) in ends.items():
        with traffic.stream(lab, source, target, address, count=20) as stream:
            got = stream.finish().received
        assert got == (0 if direction in (way, "both") else 20), way
    assert ping_across(lab, lab.topology.wire("eth2")) == []
    for host in ("a", "b"):
        assert "LOWER_UP" in lab.run(host, ["ip", "link", "show", "eth1"])
    lab.restore("eth1", direction)
    wait_for("eth1 works again", lambda: ping_across(lab, lab.topology.wire("eth1")) == [])


def test_a_cut_takes_effect_by_the_time_it_returns(make_lab: MakeLab) -> None:
    """What had passed the cut by then may still wait for the receiver's CPU, a few ms
    on a busy machine; of what was sent later nothing arrives."""
    lab = make_lab(two_hosts(1))
    with traffic.stream(lab, "a", "b", link_address(1, 2)) as stream:
        mark = lab.cut("eth1")
        # Half a second of packets that must not come.
        signal.sigtimedwait(set(), 0.5)
        report = stream.stop()
    assert max((stamp for _, stamp in stream.arrivals), default=0) < mark + IN_FLIGHT_NS
    assert report.received == report.sent - report.lost == len(stream.arrivals)
    assert report.lost >= 300 and len(report.lost_runs) == 1, "one run, to the end"


@pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "plain"])
def test_carrier_is_lost_at_one_host(make_lab: MakeLab, guarded: bool) -> None:
    lab = make_lab(two_hosts(2, guarded=guarded))

    def flags(host: str, ifname: str) -> str:
        return lab.run(host, ["ip", "-o", "link", "show", ifname])

    lab.carrier("eth1", "a", False)
    assert "NO-CARRIER" in flags("a", "eth1")
    assert "NO-CARRIER" not in flags("a", "eth2")
    assert ("LOWER_UP" in flags("b", "eth1")) is guarded, "b keeps its own carrier if guarded"
    lab.carrier("eth1", "a", True)
    wait_for("eth1 works again", lambda: ping_across(lab, lab.topology.wire("eth1")) == [])


def test_rate_holds_in_both_directions_and_for_its_wire_alone(make_lab: MakeLab) -> None:
    topology = two_hosts(2)
    shaped = replace(topology.wire("eth1"), rate_mbit=50)
    lab = make_lab(replace(topology, wires=(shaped, topology.wire("eth2"))))
    for client, server, end in (("a", "b", 2), ("b", "a", 1)):
        with traffic.iperf_server(lab, server):
            mbit = traffic.tcp_bps(lab, client, link_address(1, end), seconds=2) / 1e6
            assert abs(mbit - 50) < 50 * RATE_TOLERANCE, f"{client} to {server}: {mbit:.1f}"
            assert traffic.tcp_bps(lab, client, link_address(2, end), seconds=1) / 1e6 > 200


def test_loss_is_random_at_about_its_ratio(make_lab: MakeLab) -> None:
    """2000 packets at 20%: four standard deviations are 72 packets."""
    lab = make_lab(two_hosts(1))
    # Neighbours first: three lost ARP requests in a row are no packets of the stream.
    wait_for("eth1 answers", lambda: ping_across(lab, lab.topology.wire("eth1")) == [])
    lab.lose("eth1", 20, "a->b")
    with traffic.stream(lab, "a", "b", link_address(1, 2), interval_us=200, count=2000) as stream:
        report = stream.finish()
    assert abs(report.lost - 400) <= 72
    assert report.duplicated == 0 and report.reordered == 0
    lab.restore("eth1")
    with traffic.stream(lab, "a", "b", link_address(1, 2), interval_us=200, count=500) as stream:
        assert stream.finish().lost == 0


def test_super_packets_pass_the_middle_whole(make_lab: MakeLab) -> None:
    """Else every throughput test would measure the lab."""
    lab = make_lab(two_hosts(1))
    with traffic.iperf_server(lab, "b"):
        data = traffic.iperf(lab, "a", link_address(1, 2), seconds=1)
    sent_bytes = data["end"]["sum_sent"]["bytes"]
    line = next(line for line in lab.run("b", ["cat", "/proc/net/dev"]).splitlines() if "eth1" in line)
    packets = int(line.split(":")[1].split()[1])
    assert sent_bytes / packets > 4 * 1500, "bytes per packet as the receiving veth counts them"


@pytest.mark.parametrize("verb", ["cut", "lose", "shape"])
def test_an_impairment_needs_a_guarded_wire(make_lab: MakeLab, verb: str) -> None:
    lab = make_lab(two_hosts(1, guarded=False))
    arguments = {"cut": (), "lose": (1.0,), "shape": (10.0,)}[verb]
    with pytest.raises(LabError, match="eth1 is not a guarded wire"):
        getattr(lab, verb)("eth1", *arguments)


def test_what_was_started_inside_is_ended_and_nothing_is_left() -> None:
    """Also after an exception, and also for processes that forked away."""
    before = leftovers.network()
    with pytest.raises(ZeroDivisionError), Lab(two_hosts(2)) as lab:
        process = lab.start("a", ["sleep", "1000"])
        forked = lab.run("b", ["sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo $!"]).strip()
        raise ZeroDivisionError
    assert process.returncode is not None
    wait_for("the forked process is gone", lambda: not Path("/proc", forked, "exe").exists())
    assert namespaces(lab.ns("")) == []
    assert leftovers.difference(before, leftovers.network()) == []


def test_a_lab_that_cannot_be_made_leaves_nothing() -> None:
    topology = two_hosts(1)
    twice = replace(topology, wires=(topology.wires[0], replace(topology.wires[0], name="again")))
    lab = Lab(twice)
    with pytest.raises(LabError, match="eth1"), lab:
        pytest.fail("two interfaces of one name")
    assert namespaces(lab.ns("")) == []


def test_labs_of_two_processes_are_apart(make_lab: MakeLab) -> None:
    """Same addresses, same interface names, at once."""
    code = (
        "from mpbond.lab.netns import Lab; from mpbond.lab.topology import two_hosts\n"
        "with Lab(two_hosts(1)) as lab: print(lab.tag, flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdin is not None and other.stdout is not None
        tag = other.stdout.readline().strip()
        lab = make_lab(two_hosts(1))
        assert tag and tag != lab.tag
        lab.cut("eth1")
        ping = ["ip", "netns", "exec", f"mpb-{tag}-a", "ping", "-c", "1", "-W", "1", link_address(1, 2)]
        assert subprocess.run(ping, capture_output=True, check=False).returncode == 0
        other.stdin.write("\n")
    assert other.returncode == 0


def test_a_lab_is_made_in_a_second(make_lab: MakeLab) -> None:
    """Every test makes one. Five seconds are the limit on a machine busy with others."""
    start = time.monotonic()
    make_lab(two_hosts(3))
    assert time.monotonic() - start < 5
