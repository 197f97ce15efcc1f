"""Reports between the ends of a bond: heard, honoured, not missed when a link is cut."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from mpbond.controller.socket import ask
from mpbond.lab import traffic
from mpbond.lab.bonds import Bonds, inner_address, pair, strangers
from mpbond.lab.netns import wait_for
from mpbond.lab.topology import Topology, link_address, routed_address, routed_hosts, two_hosts
from mpbond.sessions import new_key
from mpbond.wire import HEADER_LEN, TYPE_CONTROL
from tests.netns.conftest import backup, path_on, xor
from tests.netns.test_handshake_attacks import TOOL, send
from tests.netns.test_handshake_attacks import up as routed_up
from tests.netns.test_trust import reasons

pytestmark = [pytest.mark.root, pytest.mark.netns]

BondsOn = Callable[[Topology], Bonds]

FAILOVER_MS = 500
PROBE_MS = FAILOVER_MS / 4
CHANGES_BEFORE = 50
STATED = ("peerState", "peerMode", "peerEligible", "peerActive")


def up(
    bonds: Bonds, policy_a: Any, policy_b: Any, *, links: int = 2, shared_key: bool = False, **site: Any
) -> Bonds:
    """By public keys, or by a shared key alone."""
    ends = [[link_address(link, end) for link in range(1, links + 1)] for end in (1, 2)]
    how: dict[str, Any] = (
        {"key": new_key().strip()} if shared_key else {"key": "", "privates": strangers("a", "b")}
    )
    site_a, site_b = pair(ends[0], ends[1], policy_a, **how, **site)
    bonds.up(site_a, replace(site_b, policy=policy_b))
    for host, peer in (("a", "b"), ("b", "a")):
        bonds.wait_eligible(host, peer, links)
    return bonds


def heard(bonds: Bonds, host: str) -> dict[str, Any]:
    """The bond of a host that has heard its peer of all paths."""
    peer = "b" if host == "a" else "a"

    def ready() -> dict[str, Any] | None:
        bond = bonds.peek(host, peer)
        known = bond["peerView"] and all(path["peerView"] for path in bond["paths"])
        return bond if known else None

    found: dict[str, Any] = wait_for(f"{host} hears {peer}", ready)
    return found


def test_each_end_shows_the_others_view(bonds_on: BondsOn) -> None:
    """Policy, state, spares, measurements."""
    bonds = up(bonds_on(two_hosts(2)), backup(200), xor(100))

    def seen() -> bool:
        paths = heard(bonds, "a")["paths"] + heard(bonds, "b")["paths"]
        return all(path["peerView"]["peerEligible"] and path["peerView"]["peerLatencyMean"] for path in paths)

    wait_for("both report all paths eligible and measured", seen)
    by_a, by_b = heard(bonds, "a"), heard(bonds, "b")
    assert (by_a["peerView"]["policyBase"], by_b["peerView"]["policyBase"]) == (
        "balance-xor",
        "active-backup",
    )
    assert (by_a["peerView"]["peerFailoverInterval"], by_b["peerView"]["peerFailoverInterval"]) == (100, 200)
    assert by_a["peerView"]["policy"] == by_b["peerView"]["policy"] == "lab"
    for bond in (by_a, by_b):
        assert bond["peerViewMissing"] is None and bond["peerView"]["peerFeatures"] == ["copies", "reports"]
        assert {path["peerView"]["peerState"] for path in bond["paths"]} == {"up"}
    assert path_on(by_b, "eth1")["peerView"]["peerActive"]
    assert not path_on(by_b, "eth2")["peerView"]["peerActive"]


def test_policies_that_differ_are_named_until_they_do_not(bonds_on: BondsOn) -> None:
    """Below the tables, and as events."""
    bonds = up(bonds_on(two_hosts(2)), backup(200), xor(200))
    heard(bonds, "a")
    note = "The peer sends by another policy: lab (balance-xor). Here it is lab (active-backup)."
    assert note in bonds.mpbond("a", "bond", "show", "host-b")
    assert told(bonds, "a") == ["lab (balance-xor), another than ours: lab (active-backup)"]
    bonds.mpbond("b", "bond", "set", "host-a", "active-backup")

    def same() -> bool:
        view = heard(bonds, "a")["peerView"]
        return (view["policy"], view["policyBase"]) == ("active-backup", "active-backup")

    wait_for("a hears it", same)
    assert "another policy" not in bonds.mpbond("a", "bond", "show", "host-b")
    assert told(bonds, "a")[1:] == ["active-backup, the same as ours: lab (active-backup)"]


def told(bonds: Bonds, host: str) -> list[str]:
    """The causes of the events that are about the peer's policy."""
    events = ask(bonds.run_dir(host) / "mp0.sock", "events")["events"]
    return [event["cause"] for event in events if event["kind"] == "peer-policy"]


def test_a_spare_of_one_end_is_used_by_neither(bonds_on: BondsOn) -> None:
    """While another lives: b's own policy does not know of it."""
    spared = backup(100, links={"eth1": {}, "eth2": {"mode": "spare"}})
    bonds = up(bonds_on(two_hosts(2)), spared, xor(100))
    modes = {path["ifname"]: path["peerView"]["peerMode"] for path in heard(bonds, "b")["paths"]}
    assert modes == {"eth1": "primary", "eth2": "spare"}
    assert {path["mode"] for path in heard(bonds, "b")["paths"]} == {"primary"}
    before = sent(bonds, "eth2")
    with traffic.stream(bonds.lab, "b", "a", inner_address("a")) as stream:
        start = sent(bonds, "eth1")
        wait_for("200 packets on eth1", lambda: sent(bonds, "eth1") > start + 200)
        assert sent(bonds, "eth2") == before
        bonds.lab.cut("eth1")
        wait_for("200 packets on eth2", lambda: sent(bonds, "eth2") > before + 200)
        stream.stop()


def test_a_spare_is_heard_of_over_another_path(bonds_on: BondsOn) -> None:
    """While its own, where probes would say so, is dead."""
    policies = {"spared": backup(100, links={"eth1": {}, "eth2": {"mode": "spare"}})}
    bonds = up(bonds_on(two_hosts(2, guarded=True)), xor(100), xor(100), settings={"policies": policies})
    assert not path_on(heard(bonds, "b"), "eth2")["peerSpare"]
    bonds.lab.cut("eth2")
    wait_for("eth2 down", lambda: not path_on(bonds.peek("b", "a"), "eth2")["alive"])
    bonds.mpbond("a", "bond", "set", "host-b", "spared")
    wait_for("b hears it", lambda: path_on(bonds.peek("b", "a"), "eth2")["peerSpare"])
    assert not path_on(bonds.peek("b", "a"), "eth2")["alive"]


def sent(bonds: Bonds, ifname: str) -> int:
    packets: int = path_on(bonds.peek("b", "a"), ifname)["txPackets"]
    return packets


def test_with_a_shared_key_there_are_no_reports_and_the_listing_says_so(bonds_on: BondsOn) -> None:
    bonds = up(bonds_on(two_hosts(2)), backup(100), backup(100), shared_key=True)
    bond = bonds.peek("a", "b")
    assert bond["peerView"] is None and bond["metadataPath"] is None
    assert {path["peerView"] for path in bond["paths"]} == {None}
    shown = bonds.mpbond("a", "bond", "show", "host-b")
    assert "Peer's View            : not known (a shared key alone: no reports)" in shown
    assert reasons(bonds, "a")["rx_control"] == 0


def test_the_metadata_connections_path_is_cut(bonds_on: BondsOn) -> None:
    """Under many changes of state no report is missed, nor late by more, for two probe
    intervals: from before the cut on, until the path is down. How long an end itself stood
    still, with all of this machine, the reports say too; that is added."""
    bonds = up(bonds_on(two_hosts(3, guarded=True)), xor(FAILOVER_MS), xor(FAILOVER_MS), links=3)
    for host in ("a", "b"):
        wait_for(f"{host} hears without gaps", lambda h=host: is_calm(bonds, h), 30)
        assert heard(bonds, host)["metadataPath"] == 0
    before = {host: heard(bonds, host)["peerView"]["reports"] for host in ("a", "b")}
    changes = itertools.count()

    def moved() -> bool:
        # The third path comes and goes at one end; the first, in the middle of it, for good.
        change = next(changes)
        bonds.lab.carrier("eth3", "b", change % 2 == 1)
        if change == CHANGES_BEFORE:
            bonds.lab.cut("eth1")
        return change > CHANGES_BEFORE and heard_path(bonds, "a") != 0 != heard_path(bonds, "b")

    wait_for("both have moved", moved, 30)
    print(f"{next(changes)} changes")
    for host in ("a", "b"):
        view = heard(bonds, host)["peerView"]
        print(f"{host}: {view['reports'] - before[host]} reports, {timely(bonds, host)}")
        assert view["reports"] > before[host]
        assert max(view["reportGap"], view["reportLate"]) <= 2 * PROBE_MS + stood_ms(bonds), view
        assert "down" in path_on(heard(bonds, host), "eth1")["peerView"]["peerState"]


def is_calm(bonds: Bonds, host: str) -> bool:
    view = heard(bonds, host)["peerView"]
    return bool(max(view["reportGap"], view["reportLate"]) <= 1.2 * PROBE_MS)


def stood_ms(bonds: Bonds) -> float:
    """How long both ends stood still at most, by their own word."""
    return sum(heard(bonds, host)["peerView"]["reportStall"] for host in ("a", "b"))


def timely(bonds: Bonds, host: str) -> str:
    view, counts = heard(bonds, host)["peerView"], reasons(bonds, host)
    figures = {name: view[name] for name in ("reportGap", "reportLate", "reportStall")}
    return f"{figures}, {counts['control_sent']} sent, {counts['control_again']} again"


def heard_path(bonds: Bonds, host: str) -> int | None:
    found: int | None = bonds.peek(host, "b" if host == "a" else "a")["metadataPath"]
    return found


# ---- attacks, from the router between ---------------------------------------------------------


def forged(frame: bytes) -> bytes:
    """Of one who has seen the session number: a later counter, other bytes behind it."""
    return frame[:HEADER_LEN] + (2**40).to_bytes(8, "big") + random.randbytes(len(frame) - HEADER_LEN - 8)


def flipped(frame: bytes) -> bytes:
    """A frame with another path in its header."""
    return frame[:3] + bytes([frame[3] ^ 1]) + frame[4:]


ATTACKS: dict[str, tuple[Callable[[bytes], bytes], tuple[str, ...]]] = {
    "replayed": (lambda frame: frame, ("control_replayed", "control_no_key", "control_outdated")),
    "forged": (forged, ("control_failed",)),
    # What was seen is refused as such before it is looked at any closer.
    "changed": (flipped, ("control_replayed", "control_failed")),
    "truncated": (lambda frame: frame[:-1], ("control_replayed", "control_failed")),
    "cut to the header": (lambda frame: frame[: HEADER_LEN + 9], ("rx_bad_type",)),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks_change_nothing_and_are_counted(bonds_on: BondsOn, attack: str) -> None:
    """All control frames to a that passed a router, sent again as they were or otherwise."""
    make, names = ATTACKS[attack]
    bonds = bonds_on(routed_hosts(2))
    routed_up(bonds, strangers("a", "b"))
    before = heard(bonds, "a")
    there = routed_address(1, 1)
    recorder: Any = bonds.lab.start(
        "r1", [sys.executable, TOOL, "record", "2", str(TYPE_CONTROL)], stdout=subprocess.PIPE, text=True
    )
    said, _ = recorder.communicate(timeout=30)
    recorded = [bytes.fromhex(text) for to, text in json.loads(said.splitlines()[-1]) if to == there]
    assert len(recorded) >= 3
    counted = reasons(bonds, "a")
    said, _ = send(bonds, [make(frame) for frame in recorded], 2.0, 100, there).communicate(timeout=30)
    # What was sent last is counted last.
    wait_for("all is counted", lambda: rise(bonds, counted, names) >= int(said))
    after = heard(bonds, "a")
    print(f"{attack}: {said.strip()} sent, {rise(bonds, counted, names)} counted; {timely(bonds, 'a')}")
    assert essence(after) == essence(before)
    assert after["failoverEvents"] == 0 and after["peerView"]["reportGap"] <= 1000
    assert after["peerView"]["reports"] > before["peerView"]["reports"], "true ones still come"


def rise(bonds: Bonds, before: dict[str, int], names: tuple[str, ...]) -> int:
    now = reasons(bonds, "a")
    return sum(now[name] - before[name] for name in names)


def essence(bond: dict[str, Any]) -> Any:
    """What is heard of the peer but for times, counts and measurements."""
    view = bond["peerView"]
    paths = [{key: path["peerView"][key] for key in STATED} for path in bond["paths"]]
    return {key: view[key] for key in ("policy", "policyBase", "peerFailoverInterval", "version")}, paths
