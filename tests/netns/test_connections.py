"""numConnections between two hosts: what is agreed on, seen on the wire, refused."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from mpbond.lab import traffic
from mpbond.lab.bonds import Bonds, inner_address, pair, strangers
from mpbond.lab.netns import Lab, LabError, wait_for
from mpbond.lab.topology import Topology, link_address, two_hosts
from tests.netns.conftest import xor

pytestmark = [pytest.mark.root, pytest.mark.netns]

BondsOn = Callable[[Topology], Bonds]
ENDS = (("a", "b"), ("b", "a"))
PORT = 9944
DATA, PROBE, ANSWER = 0, 1, 2
# With 1,500 flows for 127 connections one stays unused once in 1,000 times; the seed of
# their hash is random.
FLOWS = 2_500


def _script(name: str, *words: str) -> list[str]:
    return [sys.executable, str(Path(__file__).with_name(name)), *words]


@dataclass(frozen=True)
class Seen:
    """A packet that left: by which link and port, with which connection number."""

    link: str
    port: int
    number: int
    kind: int
    flow: int


@contextmanager
def captured(lab: Lab, host: str) -> Iterator[list[Seen]]:
    """Filled in when the block ends."""
    process = lab.start(host, _script("capture.py", "connections"), stdout=-1, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    seen: list[Seen] = []
    yield seen
    process.send_signal(signal.SIGTERM)
    seen += [Seen(*row) for row in json.loads(process.communicate(timeout=60)[0])]


def up(bonds: Bonds, links: int, wanted: tuple[int, int], **changes: Any) -> Bonds:
    """a and b want so many connections on each of `links` paths."""
    ends = [[link_address(link, end) for link in range(1, links + 1)] for end in (1, 2)]
    changes = {"policy": xor(500), "key": "", "privates": strangers("a", "b"), **changes}
    sites = pair(ends[0], ends[1], **changes)
    for site, number in zip(sites, wanted, strict=True):
        site.peer_extra = {"numConnections": number}
    bonds.up(*sites)
    for host, peer in ENDS:
        bonds.wait_eligible(host, peer, links)
    return bonds


def wait_connections(bonds: Bonds, total: int, timeout_s: float = 10.0) -> None:
    for host, peer in ENDS:
        wait_for(
            f"{total} connections on {host}",
            lambda h=host, p=peer: bonds.peek(h, p)["numConnections"] == total,
            timeout_s,
        )


def reasons(bonds: Bonds, host: str) -> dict[str, int]:
    found: dict[str, int] = bonds.show(host, "b" if host == "a" else "a")["reasons"]
    return found


def send_flows(lab: Lab, host: str, rounds: int = 2) -> None:
    peer = "b" if host == "a" else "a"
    # Not to the stream's port.
    words = map(str, ("send", inner_address(peer), FLOWS, rounds, 100, 5998))
    lab.run(host, _script("capture.py", *words))


def check_ports(seen: list[Seen]) -> None:
    """A connection's port is the same on every link, and no other's."""
    sent = [one for one in seen if one.kind in (DATA, PROBE)]
    ports = {one.number: one.port for one in sent}
    assert {(one.number, one.port) for one in sent} == set(ports.items())
    assert len(set(ports.values())) == len(ports)
    assert ports.get(0, PORT) == PORT


def check_flows(seen: list[Seen]) -> None:
    """Each keeps to one connection of one path."""
    flows = [one.flow for one in seen if one.kind == DATA and one.flow]
    assert len(flows) == len(set(flows)) >= FLOWS


def check_tcp(lab: Lab) -> None:
    with traffic.iperf_server(lab, "b"):
        assert traffic.tcp_bps(lab, "a", inner_address("b"), seconds=1, flows=4) > 10e6


def data_numbers(seen: list[Seen], link: str) -> set[int]:
    return {one.number for one in seen if one.kind == DATA and one.link == link}


ONE_PATH = [(1, 8, 1), (3, 8, 8), (8, 3, 8), (0, 5, 1), (-3, 5, 1), (200, 200, 128)]


@pytest.mark.parametrize(("this", "other", "agreed"), ONE_PATH)
def test_on_one_path(bonds_on: BondsOn, this: int, other: int, agreed: int) -> None:
    bonds = up(bonds_on(two_hosts(1)), 1, (this, other))
    wait_connections(bonds, agreed, timeout_s=2.0)  # at once
    for host, peer in ENDS:
        with captured(bonds.lab, host) as seen:
            send_flows(bonds.lab, host)
        check_ports(seen)
        check_flows(seen)
        # The metadata connection carries data only where it is the only one.
        assert data_numbers(seen, "eth1") == (set(range(1, agreed)) or {0})
        bond = bonds.peek(host, peer)
        assert bond["connections"] == f"1 + {agreed - 1}" and bond["connectionsPerPath"] == agreed
        assert f"1 + {agreed - 1}" in bonds.mpbond(host, "bond", "list")
        assert reasons(bonds, host)["rx_surplus_connection"] == 0
    check_tcp(bonds.lab)


@pytest.mark.parametrize(("wanted", "total", "on_each"), [(3, 9, {3}), (200, 128, {42, 43})])
def test_on_three_paths(bonds_on: BondsOn, wanted: int, total: int, on_each: set[int]) -> None:
    bonds = up(bonds_on(two_hosts(3)), 3, (wanted, wanted))
    wait_connections(bonds, total, timeout_s=2.0)
    for host, peer in ENDS:
        with captured(bonds.lab, host) as seen:
            send_flows(bonds.lab, host)
        check_ports(seen)
        check_flows(seen)
        paths = bonds.peek(host, peer)["paths"]
        assert {path["connections"] for path in paths} == on_each
        assert [path["metadata"] for path in paths].count(True) == 1
        for path in paths:
            first = 1 if path["metadata"] else 0
            assert data_numbers(seen, path["ifname"]) == set(range(first, path["connections"]))
        assert bonds.peek(host, peer)["connections"] == f"1 + {total - 1}"
        assert reasons(bonds, host)["rx_surplus_connection"] == 0
    check_tcp(bonds.lab)


def test_probes_go_round_all_connections(bonds_on: BondsOn) -> None:
    bonds = up(bonds_on(two_hosts(1)), 1, (6, 6))
    wait_connections(bonds, 6)
    before = bonds.peek("a", "b")
    with captured(bonds.lab, "a") as seen:
        wait_for("20 probes more", lambda: probes_answered(bonds) >= 20)
    assert {one.number for one in seen if one.kind == PROBE} == set(range(6))
    check_ports(seen)
    after = bonds.peek("a", "b")
    assert before["paths"][0]["alive"] and after["paths"][0]["alive"]
    assert reasons(bonds, "a")["rx_not_ours"] >= 0 and after["paths"][0]["packetLossRatio"] in (None, 0)


def probes_answered(bonds: Bonds) -> int:
    return reasons(bonds, "a")["rx_answer_taken"]


@pytest.mark.parametrize(("this", "other", "vain"), [(1, 8, 7), (0, 5, 4), (3, 8, 0), (200, 200, 0)])
def test_what_is_not_agreed_to_is_counted_on_both_ends(
    bonds_on: BondsOn, this: int, other: int, vain: int
) -> None:
    bonds = up(bonds_on(two_hosts(1)), 1, (this, other))
    assert reasons(bonds, "a")["connections_refused"] == reasons(bonds, "b")["connections_denied"] == vain
    assert reasons(bonds, "a")["connections_denied"] == reasons(bonds, "b")["connections_refused"] == 0
    for host, peer in ENDS:
        events = bonds.mpbond(host, "bond", "events", f"host-{peer}")
        assert events.count("connections refused") == bool(vain)


def test_surplus_is_refused(bonds_on: BondsOn) -> None:
    """An end that uses more than was agreed on: the other drops what comes on them, both
    count it and say so once, the rest goes on."""
    bonds = up(bonds_on(two_hosts(2)), 2, (3, 3))
    wait_connections(bonds, 6)
    with traffic.iperf_server(bonds.lab, "b"):
        bonds.lab.run("a", _script("stubborn.py", "5"))
        send_flows(bonds.lab, "a")
        wait_for("b to drop", lambda: reasons(bonds, "b")["rx_surplus_connection"] > 0)
        wait_for("b to count it", lambda: reasons(bonds, "b")["connections_refused"] == 1)
        wait_for("a to hear of it", lambda: reasons(bonds, "a")["connections_denied"] == 1)
        dropped = reasons(bonds, "b")["rx_surplus_connection"]
        bonds.lab.run("a", _script("stubborn.py", "3"))
        assert traffic.tcp_bps(bonds.lab, "a", inner_address("b"), seconds=1, flows=4) > 10e6
    # On 4 of 10 connections, of which one is for metadata alone.
    assert dropped > FLOWS / 4
    for host, peer in ENDS:
        bond = bonds.peek(host, peer)
        assert all(path["eligible"] for path in bond["paths"]) and bond["failoverEvents"] == 0
        assert bonds.mpbond(host, "bond", "events", f"host-{peer}").count("connections refused") == 1


def change(bonds: Bonds, host: str, number: int) -> None:
    """The file, and a controller that goes on with it while the old one's programs run."""
    file = bonds.folder / f"site-{host}.yaml"
    site = yaml.safe_load(file.read_text())
    for peer in site["peers"].values():
        peer["numConnections"] = number
    file.write_text(yaml.safe_dump(site))
    bonds.kill(host)
    bonds.mpbond(host, "up", str(file))


def test_a_change_is_picked_up_without_loss(bonds_on: BondsOn) -> None:
    """More come one by one, fewer at once; the ports that are there stay."""
    bonds = up(bonds_on(two_hosts(1)), 1, (2, 4))
    wait_connections(bonds, 4)
    with captured(bonds.lab, "a") as before:
        send_flows(bonds.lab, "a", rounds=1)
    with traffic.stream(bonds.lab, "a", "b", inner_address("b")) as stream:
        change(bonds, "a", 6)
        wait_for("6 agreed", lambda: bonds.peek("a", "b")["connectionsPerPath"] == 6)
        assert bonds.peek("a", "b")["numConnections"] < 6, "not all at once"
        wait_connections(bonds, 6, timeout_s=15.0)
        with captured(bonds.lab, "a") as grown:
            send_flows(bonds.lab, "a", rounds=1)
        change(bonds, "b", 1)
        wait_connections(bonds, 1, timeout_s=5.0)
        with captured(bonds.lab, "a") as fewer:
            send_flows(bonds.lab, "a", rounds=1)
        report = stream.stop()
    print(f"2 -> 6 -> 1 connections: {report}")
    ports = {one.number: one.port for one in before if one.kind == DATA}
    assert ports.items() <= {one.number: one.port for one in grown}.items()
    assert data_numbers(grown, "eth1") == set(range(1, 6))
    assert data_numbers(fewer, "eth1") == {0}
    assert (report.lost, report.duplicated) == (0, 0), report
    for host in ("a", "b"):
        assert reasons(bonds, host)["rx_surplus_connection"] == 0


def test_the_metadatas_path_fails(bonds_on: BondsOn) -> None:
    """Another path's connection 0 takes over, and leaves its data to the others there."""
    bonds = up(bonds_on(two_hosts(2, guarded=True)), 2, (3, 3))
    wait_connections(bonds, 6)
    metadata = metadata_link(bonds)
    bonds.lab.cut(metadata)
    other = "eth2" if metadata == "eth1" else "eth1"
    wait_for(f"metadata on {other}", lambda: metadata_link(bonds) == other)
    with captured(bonds.lab, "a") as seen:
        send_flows(bonds.lab, "a")
    assert data_numbers(seen, other) == {1, 2} and data_numbers(seen, metadata) == set()
    assert bonds.peek("a", "b")["connections"] == "1 + 2"
    bonds.lab.restore(metadata)
    bonds.wait_eligible("a", "b", 2)
    assert metadata_link(bonds) == other, "it stays there"


def metadata_link(bonds: Bonds) -> str:
    (path,) = [path for path in bonds.peek("a", "b")["paths"] if path["metadata"]]
    return str(path["ifname"])


def test_a_shared_key_has_one_connection(bonds_on: BondsOn) -> None:
    """Nothing is negotiated with it: an end not heard of counts as one that wants one."""
    bonds = up(bonds_on(two_hosts(1)), 1, (8, 8), key=None, privates={})
    for host, peer in ENDS:
        assert bonds.peek(host, peer)["connections"] == "1 + 0"
    assert traffic.ping(bonds.lab, "a", inner_address("b"))


def test_one_path_without_multipath(bonds_on: BondsOn) -> None:
    """`multipathEnabled: false`: failover only, whatever the policy beside it; the path
    has its connections all the same."""
    bonds = up(bonds_on(two_hosts(2, guarded=True)), 2, (3, 3), settings={"multipathEnabled": False})
    wait_connections(bonds, 6)
    bond = bonds.peek("a", "b")
    assert bond["basePolicy"] == "none" and bond["activePath"] is not None
    with captured(bonds.lab, "a") as seen:
        send_flows(bonds.lab, "a")
    (link,) = {one.link for one in seen if one.kind == DATA}
    assert data_numbers(seen, link) == {1, 2}
    bonds.lab.cut(link)
    wait_for("the other path", lambda: bonds.peek("a", "b")["activePath"] != bond["activePath"])
    assert traffic.ping(bonds.lab, "a", inner_address("b"))
    with pytest.raises(LabError, match="multipathEnabled"):
        bonds.mpbond("a", "bond", "set", "host-b", "balance-xor")
