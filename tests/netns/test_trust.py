"""Peers by public key: sessions agreed, renewed, adopted, refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from mpbond.lab import traffic
from mpbond.lab.bonds import Bonds, inner_address, pair, strangers
from mpbond.lab.netns import wait_for
from mpbond.lab.topology import Topology, link_address, two_hosts
from mpbond.sessions import new_key
from tests.netns.conftest import backup, xor

pytestmark = [pytest.mark.root, pytest.mark.netns]

LINKS = 2
REKEY_S = 2
REKEY_FOR_S = 60 if os.environ.get("MPBOND_LONG_TESTS") else 10

Sites = Callable[..., Any]
BondsOn = Callable[[Topology], Bonds]


def sites(privates: dict[str, bytes], key: str = "", policy: dict[str, Any] | None = None) -> Any:
    ends = [[link_address(link, end) for link in range(1, LINKS + 1)] for end in (1, 2)]
    return pair(ends[0], ends[1], policy or xor(), key=key, privates=privates)


def up(bonds: Bonds, **changes: Any) -> Bonds:
    bonds.up(*sites(strangers("a", "b"), **changes))
    for host, peer in (("a", "b"), ("b", "a")):
        bonds.wait_eligible(host, peer, LINKS)
    return bonds


def keys(bonds: Bonds, host: str) -> dict[str, Any]:
    found: dict[str, Any] = bonds.peek(host, "b" if host == "a" else "a")["keys"]
    return found


def view(bonds: Bonds, host: str) -> dict[str, Any] | None:
    found: dict[str, Any] | None = bonds.peek(host, "b" if host == "a" else "a")["peerView"]
    return found


def reasons(bonds: Bonds, host: str) -> dict[str, int]:
    found: dict[str, int] = bonds.show(host, "b" if host == "a" else "a")["reasons"]
    return found


@pytest.mark.parametrize("key", ["", new_key().strip()])
def test_up_with_public_keys(bonds_on: BondsOn, key: str) -> None:
    bonds = up(bonds_on(two_hosts(LINKS)), key=key)
    assert traffic.ping(bonds.lab, "a", inner_address("b"))
    for host in ("a", "b"):
        found = keys(bonds, host)
        assert found["age"] is not None and found["connections"] == 1
        assert found["features"] == ["copies", "reports"]


def test_first_link_dead_at_the_start(bonds_on: BondsOn) -> None:
    """Within a second of `up` on the other."""
    bonds = bonds_on(two_hosts(LINKS, guarded=True))
    bonds.lab.cut("eth1")
    bonds.up(*sites(strangers("a", "b"), policy=backup(500)))
    # `up` has returned on both: from now on a second.
    bonds.wait_eligible("a", "b", 1, timeout_s=1.0)
    bonds.wait_eligible("b", "a", 1, timeout_s=1.0)
    assert traffic.ping(bonds.lab, "a", inner_address("b"))


def test_renewed_under_traffic(bonds_on: BondsOn, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new session every two seconds, under a 1 ms stream and TCP: nothing is lost."""
    monkeypatch.setenv("MPBOND_REKEY_S", str(REKEY_S))
    bonds = up(bonds_on(two_hosts(LINKS)))
    at_least = REKEY_FOR_S // REKEY_S - 2
    with (
        traffic.iperf_server(bonds.lab, "b"),
        traffic.stream(bonds.lab, "a", "b", inner_address("b")) as stream,
    ):
        flows = traffic.tcp_flows(
            bonds.lab, "a", inner_address("b"), seconds=REKEY_FOR_S, flows=1, options="--fq-rate 20M"
        )
        before = keys(bonds, "a")["rekeys"]
        with flows as running:
            assert running.ended(REKEY_FOR_S + 20)
        rekeys = keys(bonds, "a")["rekeys"] - before
        report = stream.stop()
    print(f"{rekeys} renewals in {REKEY_FOR_S} s: {report}, TCP {running.bps() / 1e6:.1f} Mbit/s")
    assert rekeys >= at_least
    assert (report.lost, report.duplicated, report.reordered) == (0, 0, 0), report
    assert running.bps() > 18e6
    for host in ("a", "b"):
        assert reasons(bonds, host)["rx_unknown_session"] == 0
        assert bonds.show(host, "b" if host == "a" else "a")["failoverEvents"] == 0


def test_a_killed_controllers_session_goes_on(bonds_on: BondsOn) -> None:
    """Until the next controller has agreed on another, at once: no packet is lost."""
    bonds = up(bonds_on(two_hosts(LINKS)))
    with traffic.stream(bonds.lab, "a", "b", inner_address("b")) as stream:
        for host in ("a", "b"):
            bonds.kill(host)
            assert "adopting" in bonds.mpbond(host, "up", str(bonds.folder / f"site-{host}.yaml"))
            wait_for(f"{host}'s new controller hears reports", lambda h=host: view(bonds, h) is not None)
        report = stream.stop()
    assert (report.lost, report.duplicated) == (0, 0), report


def test_a_controller_that_died_between_two_sessions(
    bonds_on: BondsOn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed again and again while sessions are renewed every second."""
    monkeypatch.setenv("MPBOND_REKEY_S", "1")
    bonds = up(bonds_on(two_hosts(LINKS)))
    with traffic.stream(bonds.lab, "a", "b", inner_address("b")) as stream:
        for _ in range(3):
            for host in ("a", "b"):
                rekeys = keys(bonds, host)["rekeys"]
                wait_for("a renewal", lambda h=host, r=rekeys: keys(bonds, h)["rekeys"] > r)
                bonds.kill(host)
                bonds.mpbond(host, "up", str(bonds.folder / f"site-{host}.yaml"))
        report = stream.stop()
    assert (report.lost, report.duplicated) == (0, 0), report


def test_a_peer_that_starts_anew_gets_a_session(bonds_on: BondsOn) -> None:
    bonds = up(bonds_on(two_hosts(LINKS)))
    bonds.down("b")
    bonds.mpbond("b", "up", str(bonds.folder / "site-b.yaml"))
    bonds.wait_eligible("a", "b", LINKS)
    bonds.wait_eligible("b", "a", LINKS)
    assert traffic.ping(bonds.lab, "a", inner_address("b"))


@pytest.mark.parametrize("wrong", ["public key", "pre-shared key"])
def test_a_wrong_key(bonds_on: BondsOn, wrong: str) -> None:
    """Nothing gets through, and each end says why."""
    bonds = bonds_on(two_hosts(LINKS))
    privates = strangers("a", "b")
    site_a, site_b = sites(privates)
    if wrong == "public key":
        # b has another key than a knows of it.
        site_b = sites({**privates, **strangers("b")})[1]
        expected = "handshake_unknown_peer"
    else:
        site_a.key = new_key().strip()
        expected = "handshake_failed"
    bonds.up(site_a, site_b)
    wait_for(f"{expected} counted", lambda: reasons(bonds, "a").get(expected, 0) > 0)
    assert not traffic.ping(bonds.lab, "a", inner_address("b"))
    for host, peer in (("a", "b"), ("b", "a")):
        bond = bonds.peek(host, peer)
        assert bond["session"] == "no session"
        assert not any(path["alive"] for path in bond["paths"])
