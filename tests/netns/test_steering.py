"""`bond rotate` and `bond set` on running bonds, under a 1 ms stream: nothing is lost."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from mpbond.config.model import BasePolicy
from mpbond.lab import traffic
from mpbond.lab.bonds import NODE_IDS, Bonds, inner_address, pair
from mpbond.lab.netns import Lab, wait_for
from mpbond.lab.topology import Topology, link_address, two_hosts
from mpbond.policies import ASSIGN
from tests.netns.conftest import MakeBonds, active_link, backup, path_on, wait_active

pytestmark = [pytest.mark.root, pytest.mark.netns]

B = NODE_IDS["b"]


def carried(bonds: Bonds, ifname: str) -> int:
    packets: int = path_on(bonds.peek("a", "b"), ifname)["txPackets"]
    return packets


def wait_to_carry(bonds: Bonds, *links: str) -> None:
    """Until a stream's packets leave by each of these links."""
    before = {link: carried(bonds, link) for link in links}
    wait_for(f"packets on {links}", lambda: all(carried(bonds, link) > before[link] + 50 for link in links))


def rotate(bonds: Bonds) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(bonds.mpbond("a", "bond", B, "rotate", "-j"))
    return told


def test_rotate_loses_and_reorders_nothing(bonded: MakeBonds) -> None:
    """Ten times around three links."""
    bonds = bonded(backup(500, links={"eth1": {"mode": "primary"}, "eth2": {}, "eth3": {}}), links=3)
    with traffic.stream(bonds.lab, "a", "b", inner_address("b")) as stream:
        wait_active(bonds, "eth1")
        for link in ["eth2", "eth3", "eth1"] * 3 + ["eth2"]:
            told = rotate(bonds)
            assert told["to"]["ifname"] == active_link(bonds) == link
            left = carried(bonds, told["from"]["ifname"])
            wait_to_carry(bonds, link)
            assert carried(bonds, told["from"]["ifname"]) == left, "in force when the command returns"
        report = stream.stop()
    print(f"10 rotations: {report}")
    assert (report.lost, report.reordered, report.duplicated) == (0, 0, 0)
    assert bonds.peek("a", "b")["failoverEvents"] == 0
    assert active_link(bonds, "b", "a") == "eth1", "the other end chooses for itself"


POLICIES = [base.value for base in ASSIGN if base is not BasePolicy.NONE]
# Around the circle of all there are; each test goes there and back.
CHANGES = [tuple(sorted(both)) for both in pairwise([*POLICIES, POLICIES[0]])]


def bytes_sent(bonds: Bonds) -> int:
    return sum(path["txBytes"] for path in bonds.peek("a", "b")["paths"])


@contextmanager
def tcp_gaps(lab: Lab) -> Iterator[list[float]]:
    """Filled in when the block ends: the longest time without TCP data at b, in ms."""
    script = [sys.executable, str(Path(__file__).with_name("capture.py")), "gaps"]
    process = lab.start("b", script, stdout=-1, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    longest: list[float] = []
    yield longest
    process.send_signal(signal.SIGTERM)
    longest.append(float(process.communicate(timeout=60)[0]))


@pytest.mark.parametrize(("first", "second"), dict.fromkeys(CHANGES))
def test_set_loses_nothing(bonded: MakeBonds, first: str, second: str) -> None:
    """There and back, three times, at both ends, with a TCP flow beside the stream: it
    never stalls for over 50 ms, what the machine itself stalls the sender aside."""
    bonds = bonded(first)
    lab = bonds.lab
    with traffic.iperf_server(lab, "b"), tcp_gaps(lab) as gap_ms:
        options = "-b 10M -l 1250 --pacing-timer 1000"
        tcp = traffic.tcp_flows(lab, "a", inner_address("b"), seconds=60, options=options)
        with tcp as flow, traffic.stream(lab, "a", "b", inner_address("b")) as stream:
            for policy in [second, first] * 3:
                for host, peer in (("a", "b"), ("b", "a")):
                    bonds.mpbond(host, "bond", "set", f"host-{peer}", policy)
                    assert bonds.peek(host, peer)["bondingPolicyStr"] == policy
                before = bytes_sent(bonds)
                wait_for("a MB more", lambda before=before: bytes_sent(bonds) > before + 1_000_000)
            assert not flow.ended(0.01), "the connection lives"
            report = stream.stop()
    print(f"{first} <-> {second}: TCP gap {gap_ms[0]:.1f} ms, {report}")
    assert report.lost == 0, report
    assert gap_ms[0] <= 50 + max(report.stalls_ms, default=0), (gap_ms, report.stalls_ms)


# Custom policies beside the one in force, which is backup() over eth1 and eth2.
OTHERS = {
    "only-eth2": {"basePolicy": "active-backup", "failoverInterval": 100, "links": {"eth2": {}}},
    "only-eth3": {"basePolicy": "balance-xor", "failoverInterval": 100, "links": {"eth3": {}}},
    "nowhere": {"basePolicy": "balance-xor", "links": {"eth77": {}}},
}


@pytest.fixture
def three_links(bonds_on: Callable[[Topology], Bonds]) -> Bonds:
    """a under backup() over two of three links, with OTHERS to choose; b takes the best
    of all three, and takes its time to probe them."""
    bonds = bonds_on(two_hosts(3))
    ends = [[link_address(link, end) for link in (1, 2, 3)] for end in (1, 2)]
    site_a, site_b = pair(ends[0], ends[1], backup(100), settings={"policies": dict(OTHERS)})
    any_link = {"basePolicy": "active-backup", "failoverInterval": 5000}
    bonds.up(site_a, replace(site_b, policy=any_link, settings={}))
    for host, peer in (("a", "b"), ("b", "a")):
        bonds.wait_eligible(host, peer, 2, timeout_s=20)
    return bonds


def links_of(bonds: Bonds) -> set[str]:
    return {path["ifname"] for path in bonds.peek("a", "b")["paths"]}


def test_set_to_links_that_were_not_in_use(three_links: Bonds) -> None:
    """No path of the new policy is there when it is asked for: they are made, and have
    to work, before the old one is left; what it alone wanted goes once the peer, which
    is told that these are spares, has left it too."""
    bonds, lab = three_links, three_links.lab
    assert links_of(bonds) == {"eth1", "eth2"}
    with (
        traffic.stream(lab, "a", "b", inner_address("b")) as stream,
        traffic.stream(lab, "b", "a", inner_address("a")) as other_way,
    ):
        ways = {"only-eth3": "eth3", "only-eth2": "eth2", "lab": "eth1"}
        for policy, link in [*ways.items(), ("only-eth3", "eth3")]:
            bonds.mpbond("a", "bond", "set", "host-b", policy)
            wait_to_carry(bonds, link)
        wait_for("the others gone", lambda: links_of(bonds) == {"eth3"}, timeout_s=20)
        wait_to_carry(bonds, "eth3")
        reports = stream.stop(), other_way.stop()
    print(f"links replaced: {reports}")
    assert [(report.lost, report.reordered) for report in reports] == [(0, 0), (0, 0)]


def refused(bonds: Bonds, *words: str) -> tuple[int, str]:
    """Exit code and message."""
    process = bonds.lab.start("a", bonds.argv("a", "bond", *words), stdout=-1, stderr=-1, text=True)
    output, errors = process.communicate(timeout=60)
    assert output == ""
    return process.returncode, errors


def test_what_is_refused_changes_nothing(bonded: MakeBonds) -> None:
    bonds = bonded(backup(100), settings={"policies": dict(OTHERS)})
    lab = bonds.lab
    wait_active(bonds, "eth1")
    with traffic.stream(lab, "a", "b", inner_address("b")) as stream:
        code, said = refused(bonds, "set", "host-b", "balance-xr")
        assert (code, "no policy 'balance-xr'" in said) == (2, True)
        assert "did you mean balance-xor?" in said
        code, said = refused(bonds, "set", "host-c", "balance-xor")
        assert (code, "no peer 'host-c'" in said) == (2, True)
        code, said = refused(bonds, B, "set", "nowhere")
        assert (code, "without a path: none of its links (eth77)" in said) == (2, True)
        code, said = refused(bonds, "host-c", "rotate")
        assert (code, "no peer 'host-c'" in said) == (2, True)
        bond = bonds.peek("a", "b")
        assert (bond["bondingPolicyStr"], bond["configuredPolicy"]) == ("lab", "lab")
        assert {path["ifname"]: path["active"] for path in bond["paths"]} == {"eth1": True, "eth2": False}
        report = stream.stop()
    assert report.lost == 0
    lab.cut("eth2")
    wait_for("eth2 down", lambda: not path_on(bonds.peek("a", "b"), "eth2")["alive"])
    code, said = refused(bonds, "rotate", "host-b")
    assert (code, "only one eligible path" in said) == (1, True)
    bonds.mpbond("a", "bond", "set", "host-b", "balance-xor")
    code, said = refused(bonds, "rotate", "host-b")
    assert (code, "under balance-xor: only active-backup" in said) == (2, True)


def test_set_to_a_link_that_is_dead_is_taken_back(three_links: Bonds) -> None:
    bonds, lab = three_links, three_links.lab
    lab.cut("eth3")
    with traffic.stream(lab, "a", "b", inner_address("b")) as stream:
        code, said = refused(bonds, "set", "host-b", "only-eth3")
        report = stream.stop()
    assert (code, "lab goes on" in said, report.lost) == (1, True, 0)
    assert links_of(bonds) == {"eth1", "eth2"}
    assert bonds.peek("a", "b")["bondingPolicyStr"] == "lab"


def test_what_was_set_holds_until_the_next_up(bonded: MakeBonds) -> None:
    """Shown beside the file's policy; a controller that adopts goes by the file."""
    bonds = bonded(backup(100), settings={"policies": dict(OTHERS)})
    bonds.mpbond("a", "bond", "set", "host-b", "balance-xor")
    bond = bonds.show("a", "b")
    assert (bond["bondingPolicyStr"], bond["configuredPolicy"]) == ("balance-xor", "lab")
    assert "balance-xor (until the next up; in the file: lab)" in bonds.mpbond("a", "bond", "show", "host-b")
    bonds.kill("a")
    bonds.mpbond("a", "up", str(bonds.folder / "site-a.yaml"))
    bond = bonds.wait_eligible("a", "b", 2)
    assert (bond["bondingPolicyStr"], bond["basePolicy"]) == ("lab", "active-backup")
    wait_active(bonds, "eth1", "a")
    assert traffic.ping(bonds.lab, "a", inner_address("b"))
