"""Attacks on handshakes from a router between the hosts: nothing changes, all is counted."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mpbond import abi
from mpbond.handshake import FREE_BURST, FREE_HZ
from mpbond.handshake_messages import Receiver
from mpbond.identity import identity
from mpbond.lab import traffic
from mpbond.lab.bonds import Bonds, inner_address, pair, strangers
from mpbond.lab.topology import Topology, routed_address, routed_hosts
from mpbond.wire import TYPE_HANDSHAKE, bond_header
from tests.netns.conftest import xor
from tests.netns.test_trust import keys, reasons

pytestmark = [pytest.mark.root, pytest.mark.netns]

FLOOD_PPS, FLOOD_S = 50_000, 4.0
TCP_MBIT = 50
TOOL = str(Path(__file__).with_name("attacker.py"))
# What a message to us can end as, from the kernel on.
ENDS = ("rx_handshake", "rx_handshake_limited", "rx_unknown_session", "rx_bad_type")

Attack = Callable[[dict[str, bytes]], list[bytes]]


def up(bonds: Bonds, privates: dict[str, bytes]) -> None:
    ends = [[routed_address(link, end) for link in (1, 2)] for end in (1, 2)]
    # Every link may reach every endpoint, over its own router.
    straight = [
        [{"address": address, "link": f"eth{link}"} for link, address in enumerate(end, 1)] for end in ends
    ]
    bonds.up(*pair(straight[0], straight[1], xor(500), key="", privates=privates))
    bonds.wait_eligible("a", "b", 2)
    bonds.wait_eligible("b", "a", 2)


def junk(privates: dict[str, bytes]) -> list[bytes]:
    """Of one who knows nothing but the format."""
    return [
        bond_header(random.randbytes(8), 0, kind=TYPE_HANDSHAKE) + random.randbytes(160) for _ in range(64)
    ]


def signed(privates: dict[str, bytes]) -> list[bytes]:
    """Of one who knows the public key: right tag and mac1, nothing inside."""
    to = Receiver(identity(privates["a"]).public)
    bodies = [to.initiation(random.getrandbits(32), random.randbytes(112)) + bytes(16) for _ in range(64)]
    return [bond_header(to.tag, 0, kind=TYPE_HANDSHAKE) + body for body in bodies]


def ended(bonds: Bonds) -> int:
    counts = reasons(bonds, "a")
    return sum(counts[name] for name in ENDS)


def send(
    bonds: Bonds, payloads: list[bytes], seconds: float, pps: float, to: str = routed_address(1, 1)
) -> subprocess.Popen[str]:
    process: subprocess.Popen[str] = bonds.lab.start(
        "r1",
        [sys.executable, TOOL, "send", to, str(seconds), str(pps)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps([payload.hex() for payload in payloads]))
    process.stdin.close()
    process.stdin = None
    return process


def tcp_bps(bonds: Bonds) -> float:
    """From a to b, with what the two CPUs have left."""
    flows = traffic.tcp_flows(
        bonds.lab, "a", inner_address("b"), seconds=3, flows=1, options=f"--fq-rate {TCP_MBIT}M"
    )
    with flows as running:
        assert running.ended(30)
    return running.bps()


@pytest.mark.parametrize("attack", [junk, signed])
def test_flood(bonds_on: Callable[[Topology], Bonds], attack: Attack) -> None:
    """50,000 messages a second from random addresses."""
    bonds, privates = bonds_on(routed_hosts(2)), strangers("a", "b")
    up(bonds, privates)
    payloads = attack(privates)
    with traffic.iperf_server(bonds.lab, "b"):
        before_bps, before = tcp_bps(bonds), ended(bonds)
        age = keys(bonds, "a")["age"]
        with traffic.stream(bonds.lab, "a", "b", inner_address("b")) as stream:
            flood = send(bonds, payloads, FLOOD_S, FLOOD_PPS)
            during_bps = tcp_bps(bonds)
            said, _ = flood.communicate(timeout=30)
            report = stream.stop()
    counted, sent = ended(bonds) - before, int(said)
    counts = reasons(bonds, "a")
    print(
        f"{attack.__name__}: {sent} sent, {counted} counted, {during_bps / before_bps:.2f} of TCP, {report}"
    )
    print({name: count for name, count in counts.items() if "handshake" in name and count})
    assert sent >= FLOOD_PPS * FLOOD_S / 2, "a flood"
    assert counted >= sent, "every one counted"
    assert report.lost == report.duplicated == 0, report
    assert during_bps >= 0.9 * before_bps
    bond = bonds.peek("a", "b")
    assert bond["failoverEvents"] == 0 and all(path["eligible"] for path in bond["paths"])
    assert keys(bonds, "a")["age"] > age, "the same session"
    if attack is signed:
        # From all addresses at once: what each share of them may send, and no more.
        most = abi.HANDSHAKE_BUCKETS * (abi.HANDSHAKE_BURST + abi.HANDSHAKE_HZ * (FLOOD_S + 1))
        assert counts["rx_handshake"] <= most
        assert counts["rx_handshake"] + counts["rx_handshake_limited"] >= sent
        # Of these, few cost more than a hash.
        assert counts["handshake_failed"] <= FREE_BURST + FREE_HZ * (FLOOD_S + 1)
        assert counts["handshake_overload"] > 100 * counts["handshake_failed"]


@pytest.mark.parametrize("host", ["a", "b"])
def test_replayed_handshakes(
    bonds_on: Callable[[Topology], Bonds], monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    """All that passed a router to one end in some renewals, sent again while a stream runs."""
    monkeypatch.setenv("MPBOND_REKEY_S", "1")
    bonds = bonds_on(routed_hosts(2))
    up(bonds, strangers("a", "b"))
    there = routed_address(1, "ab".index(host) + 1)
    recorder: Any = bonds.lab.start(
        "r1", [sys.executable, TOOL, "record", "4"], stdout=subprocess.PIPE, text=True
    )
    said, _ = recorder.communicate(timeout=30)
    recorded = [bytes.fromhex(text) for to, text in json.loads(said.splitlines()[-1]) if to == there]
    assert len(recorded) >= 3
    before = reasons(bonds, host)
    with traffic.stream(bonds.lab, "a", "b", inner_address("b")) as stream:
        said, _ = send(bonds, recorded, 2.0, 100, there).communicate(timeout=30)
        report = stream.stop()
    counts = {name: count - before[name] for name, count in reasons(bonds, host).items()}
    refused = counts["handshake_replayed"] + counts["handshake_unasked"] + counts["handshake_repeated"]
    ours = {name: count for name, count in counts.items() if "handshake" in name and count}
    print(f"{said.strip()} replayed to {host}: {ours}")
    assert counts["rx_handshake"] + counts["rx_handshake_limited"] >= int(said), "every one counted"
    assert refused >= 0.9 * int(said) - counts["handshake_overload"], "and to no avail"
    assert (report.lost, report.duplicated) == (0, 0), report
    assert bonds.peek("a", "b")["failoverEvents"] == 0
