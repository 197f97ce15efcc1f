"""Attacks on what is running, from a router between the hosts or by a peer: nothing is
delivered, no path changes, every packet is counted. (Those on handshakes, and on reports,
have files of their own.)"""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mpbond.lab import traffic
from mpbond.lab.bonds import Bonds, Site, inner_address, pair
from mpbond.lab.netns import Lab, wait_for
from mpbond.lab.topology import Topology, link_address, routed_address, routed_hosts, two_hosts
from mpbond.sessions import new_key
from mpbond.wire import TYPE_ANSWER, TYPE_DATA, TYPE_PROBE, bond_header
from tests.netns.conftest import xor

pytestmark = [pytest.mark.root, pytest.mark.netns]

TOOL = str(Path(__file__).with_name("attacker.py"))
GUESSES = 1_000_000 if os.environ.get("MPBOND_LONG_TESTS") else 60_000
TO_A, TO_B = routed_address(1, 1), routed_address(1, 2)
PORT = 5990


@pytest.fixture
def routed(bonds_on: Callable[[Topology], Bonds]) -> Bonds:
    """a and b, each link over a router of its own; the attacker is the first router."""
    bonds = bonds_on(routed_hosts(2))
    ends = [
        [{"address": routed_address(link, end), "link": f"eth{link}"} for link in (1, 2)] for end in (1, 2)
    ]
    bonds.up(*pair(ends[0], ends[1], xor(500)))
    bonds.wait_eligible("a", "b", 2)
    bonds.wait_eligible("b", "a", 2)
    return bonds


def reasons(bonds: Bonds, host: str, peer: str) -> dict[str, int]:
    found: dict[str, int] = bonds.show(host, peer)["reasons"]
    return found


def risen(before: dict[str, int], after: dict[str, int], *names: str) -> int:
    return sum(after[name] - before[name] for name in names)


def attack(lab: Lab, words: list[str], payloads: list[bytes], timeout_s: float = 240) -> int:
    """How many packets were sent."""
    tool: subprocess.Popen[str] = lab.start(
        "r1", [sys.executable, TOOL, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    said, _ = tool.communicate(json.dumps([payload.hex() for payload in payloads]), timeout=timeout_s)
    return int(said)


def recorded(lab: Lab, seconds: int, *kinds: int) -> dict[str, list[bytes]]:
    """By where they went, what has passed the router."""
    words = [sys.executable, TOOL, "record", str(seconds), *map(str, kinds)]
    tool: subprocess.Popen[str] = lab.start("r1", words, stdout=subprocess.PIPE, text=True)
    said, _ = tool.communicate(timeout=seconds + 30)
    found: dict[str, list[bytes]] = {}
    for to, text in json.loads(said.splitlines()[-1]):
        found.setdefault(to, []).append(bytes.fromhex(text))
    return found


@contextmanager
def nothing_happens(bonds: Bonds) -> Iterator[None]:
    """Meanwhile no path changes, and a stream loses nothing."""
    before = {host: state(bonds, host) for host in ("a", "b")}
    with traffic.stream(bonds.lab, "a", "b", inner_address("b")) as stream:
        yield
        report = stream.stop()
    assert (report.lost, report.duplicated) == (0, 0), report
    assert {host: state(bonds, host) for host in ("a", "b")} == before


def state(bonds: Bonds, host: str) -> Any:
    bond = bonds.peek(host, "b" if host == "a" else "a")
    paths = [(path["idx"], path["address"], path["state"], path["eligible"]) for path in bond["paths"]]
    return paths, bond["failoverEvents"]


def inner_udp(source: str, target: str) -> bytes:
    """An IPv4 packet for whoever listens on PORT of a."""
    udp = struct.pack("!HHHH", 4000, PORT, 8 + 4, 0) + b"evil"
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0)
    head += socket.inet_aton(source) + socket.inet_aton(target)
    total = sum(struct.unpack("!10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    return head[:10] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + head[12:] + udp


@contextmanager
def listening(lab: Lab, host: str) -> Iterator[Callable[[], bool]]:
    """Tells whether anything came to PORT."""
    code = f"""
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", {PORT}))
print("ready", flush=True)
print(s.recvfrom(99), flush=True)
"""
    listener: subprocess.Popen[str] = lab.start(
        host, [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    )
    assert listener.stdout is not None
    assert listener.stdout.readline() == "ready\n"
    try:
        yield lambda: listener.poll() is not None
    finally:
        listener.kill()
        listener.communicate()


def test_random_session_numbers(routed: Bonds) -> None:
    """From random addresses: data that a would deliver, probes and answers."""
    inner = inner_udp(inner_address("b"), inner_address("a"))
    payloads = [
        bond_header(bytes(8), 0, kind=kind) + body
        for kind, body in ((TYPE_DATA, inner), (TYPE_PROBE, bytes(64)), (TYPE_ANSWER, bytes(64)))
    ]
    before = reasons(routed, "a", "b")
    with listening(routed.lab, "a") as heard, nothing_happens(routed):
        sent = attack(routed.lab, ["guess", TO_A, str(GUESSES)], payloads)
        assert not heard()
    counted = risen(before, reasons(routed, "a", "b"), "rx_unknown_session")
    print(f"{sent} tries, {counted} counted")
    assert sent == GUESSES and counted == sent


def test_replayed_answers(routed: Bonds) -> None:
    """Answers, that prove a path's life, heard on one link and sent again later."""
    answers = recorded(routed.lab, 2, TYPE_ANSWER)[TO_A]
    assert len(answers) >= 5
    before = reasons(routed, "a", "b")
    with nothing_happens(routed):
        sent = attack(routed.lab, ["send", TO_A, "2", "200"], answers)
    after = reasons(routed, "a", "b")
    assert risen(before, after, "rx_stale_answer") >= sent, "every one counted"


def test_reflected_probes(routed: Bonds) -> None:
    """What a sends, sent back to it: it is under the number that b knows, not a."""
    probes = recorded(routed.lab, 2, TYPE_PROBE, TYPE_DATA, TYPE_ANSWER)[TO_B]
    assert len(probes) >= 5
    before = reasons(routed, "a", "b")
    with nothing_happens(routed):
        sent = attack(routed.lab, ["send", TO_A, "2", "200"], probes)
    assert risen(before, reasons(routed, "a", "b"), "rx_unknown_session") == sent


def test_a_peer_that_poses_as_another(bonds_on: Callable[[Topology], Bonds]) -> None:
    """c is a peer of b's, and sends under its own session what only a may send."""
    wires = tuple(
        replace(
            wire,
            name=f"c{wire.name}",
            a=replace(wire.a, host="c", addresses=("10.77.11.2/24",)),
            b=replace(wire.b, ifname="eth11", addresses=("10.77.11.1/24",)),
        )
        for wire in two_hosts(1).wires
    )
    base = two_hosts(1)
    bonds = bonds_on(replace(base, hosts=(*base.hosts, type(base.hosts[0])("c")), wires=base.wires + wires))
    key = new_key().strip()
    hub = Site("b", key, {"a": [link_address(1, 1)], "c": ["10.77.11.2"]}, xor(500))
    spoke_a, spoke_c = (
        Site("a", key, {"b": [link_address(1, 2)]}, xor(500)),
        Site("c", key, {"b": ["10.77.11.1"]}, xor(500)),
    )
    bonds.up(hub, spoke_a, spoke_c)
    for host, peer in (("b", "a"), ("b", "c"), ("c", "b")):
        bonds.wait_eligible(host, peer, 1)
    as_a = ["ip", "addr", "add", f"{inner_address('a')}/32", "dev", "mp0"]
    bonds.lab.run("c", as_a)
    before = reasons(bonds, "b", "c")
    assert not traffic.ping(bonds.lab, "c", inner_address("b"), "-I", inner_address("a"), "-c", "5")
    wait_for(
        "all five counted",
        lambda: risen(before, reasons(bonds, "b", "c"), "rx_source_not_allowed") == 5,
    )
    assert traffic.ping(bonds.lab, "a", inner_address("b"))
