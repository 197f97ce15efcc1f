"""What people read: complete at 80 columns, one line a path where there is room."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console, RenderableType

from mpbond import view
from mpbond.connections import one_and_others
from mpbond.snapshot import (
    BondSnapshot,
    KeySnapshot,
    PathSnapshot,
    PathViewSnapshot,
    PeerViewSnapshot,
    Snapshot,
)

LONG_LOCAL = "2001:db8:1234:5678:9abc:def0:1234:5678"
LONG_REMOTE = "[2001:db8:1234:5678:9abc:def0:1234:5679]:9944"


def path(idx: int, **changes: Any) -> PathSnapshot:
    plain = PathSnapshot(
        idx=idx,
        ifname=f"eth{idx}",
        localAddress=f"10.77.{idx}.1",
        address=f"10.77.{idx}.2:9944",
        mode="primary",
        state="up",
        alive=True,
        eligible=True,
        bonded=True,
        active=True,
        latencyMean=0.1234,
        latencyVariance=0.0213,
        packetLossRatio=None,
        packetErrorRatio=None,
        capacity=None,
        capacityEstimated=None,
        deliveredRate=None,
        relativeQuality=0.9,
        healthScore=90.0,
        allocation=1 / 3,
        txPackets=123456,
        txBytes=98765432,
        rxPackets=1,
        rxBytes=70,
        lastInAge=12.3,
        lastOutAge=1.1,
        assignedFlowCount=3,
        rx="tc",
        flaps=0,
        heldMs=0.0,
        peerSpare=None,
        network="wan",
        priority=30,
        farther=False,
        avoided=False,
        avoidedMs=0.0,
        connections=1,
        metadata=idx == 1,
        peerView=None,
    )
    return replace(plain, **changes)


# Everything as long as it gets.
LONGEST = path(
    12,
    ifname="enp0s31f6abcdef",
    connections=128,
    metadata=True,
    localAddress=LONG_LOCAL,
    address=LONG_REMOTE,
    rx="xdp",
    state="link down",
    active=False,
    eligible=False,
    latencyMean=12345.6,
    latencyVariance=999.94,
    packetLossRatio=0.1234,
    packetErrorRatio=1.0,
    capacity=1000000,
    capacityEstimated=None,
    txPackets=999_949_000_000,
    txBytes=10**16,
    lastInAge=9999.0,
    lastOutAge=None,
    assignedFlowCount=123456,
)


def bond(*paths: PathSnapshot, **changes: Any) -> BondSnapshot:
    plain = BondSnapshot(
        address="00000000bb",
        name="berlin",
        bondingPolicyStr="office",
        configuredPolicy="office",
        peerPolicy=None,
        basePolicy="balance-xor",
        linkSelectMethod=None,
        failoverInterval=100,
        upDelay=0,
        downDelay=0,
        packetsPerLink=None,
        numAliveLinks=len([one for one in paths if one.alive]),
        numTotalLinks=len(paths),
        failoverEvents=1,
        activePath=None,
        session="up",
        keys=None,
        numConnections=len(paths),
        connections=one_and_others(len(paths)),
        connectionsPerPath=1,
        metadataPath=None,
        peerView=None,
        peerViewMissing="a shared key alone: no reports",
        rates=None,
        paths=paths,
    )
    return replace(plain, **changes)


def snapshot(*bonds: BondSnapshot, **changes: Any) -> Snapshot:
    return replace(Snapshot("mp0", "00000000aa", 1, False, 1.0, 0.1, bonds, {}, ()), **changes)


def text(what: RenderableType, width: int = 80) -> str:
    # soft_wrap as the command line's own console has it.
    console = Console(width=width, color_system=None, soft_wrap=True, _environ={})
    with console.capture() as capture:
        console.print(what)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


LIST = """\
peer        name    policy                  links  conns  session     failovers
───────────────────────────────────────────────────────────────────────────────
00000000bb  berlin  office                    2/2  1 + 1  up                  1
00000000cc  -       standard-active-backup    0/0      0  no session          1"""


def test_list() -> None:
    other = bond(
        address="00000000cc", name=None, bondingPolicyStr="standard-active-backup", session="no session"
    )
    listed = snapshot(bond(path(1), path(2)), other)
    assert text(view.bond_list(listed)) == text(view.bond_list(listed), 160) == LIST


SHOW = """\
Peer                   : 00000000bb (berlin)
Bond                   : office
Base Policy            : balance-xor
Link Select Method     : -
Peer's Policy          : -
Links                  : 2/2
Connections            : 1 + 1
Session                : up
Failover Interval (ms) : 100
Up Delay (ms)          : 0
Down Delay (ms)        : 0
Failovers              : 1
Peer's View            : not known (a shared key alone: no reports)

idx  interface  local      path            mode     rx  conns  score  state
───────────────────────────────────────────────────────────────────────────────
  1  eth1       10.77.1.1  10.77.1.2:9944  primary  tc  1 + 0     90  up active
  2  eth2       10.77.2.1  10.77.2.2:9944  spare    tc      1     90  up

idx   lat   pdv  plr  per  speed  rx_age  tx_age  eligible  bonded
──────────────────────────────────────────────────────────────────
  1  0.12  0.02    -    -      -      12       1         1       1
  2     -     -    -    -   1000   never       1         1       1

idx  interface  alloc  flows  tx_packets  tx_bytes  rx_packets  rx_bytes
────────────────────────────────────────────────────────────────────────
  1  eth1        0.33      3      123.5k     98.8M           1        70
  2  eth2        0.33      3      123.5k     98.8M           1        70"""


def test_show() -> None:
    second = path(
        2, mode="spare", active=False, latencyMean=None, latencyVariance=None, capacity=1000, lastInAge=None
    )
    shown = bond(path(1), second)
    assert text(view.bond_show(snapshot(shown), shown)) == text(view.bond_show(snapshot(shown), shown), 160)
    assert text(view.bond_show(snapshot(shown), shown)) == SHOW


def test_nothing_is_cut_at_80_columns() -> None:
    """Not the heads, not the values; what is too long goes on below itself."""
    shown = bond(path(1), LONGEST)
    lines = text(view.bond_show(snapshot(shown), shown)).splitlines()
    assert max(map(len, lines)) <= 80
    assert not [line for line in lines if "…" in line]
    words = " ".join(lines).split()
    for word in ("rx_age", "tx_age", "eligible", "bonded", "tx_packets", "rx_bytes", "interface", "state"):
        assert word in words, word
    for value in ("enp0s31f6abcdef", "12346", "999.94", "0.1234", "1000000", "10000.0T", "123456", "never"):
        assert value in words, value
    start = lines[14].index("local"), lines[14].index("path")
    assert LONG_LOCAL in "".join(line[start[0] : start[1]].strip() for line in lines[16:28])


def test_wide_terminals_get_one_line_a_path() -> None:
    shown = bond(path(1), LONGEST)
    lines = text(view.bond_show(snapshot(shown), shown), 160).splitlines()
    assert any(LONG_LOCAL in line and LONG_REMOTE in line and "link down" in line for line in lines)


def test_long_names_are_folded_not_cut() -> None:
    named = bond(name="n" * 50, bondingPolicyStr="p" * 64)
    lines = text(view.bond_list(snapshot(named))).splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.count("n") for line in lines[2:]) == 50
    assert sum(line.replace("up", "").count("p") for line in lines[2:]) == 64


@pytest.mark.parametrize(
    ("base", "field", "shown"),
    [
        ("balance-rr", {"packetsPerLink": 8}, "Packets Per Link       : 8"),
        ("active-backup", {"linkSelectMethod": "always"}, "Link Select Method     : always"),
        ("balance-xor", {"name": None}, "Peer                   : 00000000bb"),
    ],
)
def test_facts_of_a_policy(base: str, field: dict[str, Any], shown: str) -> None:
    found = bond(path(1), basePolicy=base, **field)
    assert shown in text(view.bond_show(snapshot(found), found)).splitlines()


@pytest.mark.parametrize(
    ("reasons", "advice"),
    [
        ({"rx_unknown_session": 7, "rx_bad_mac": 1}, "No session: 7 packets came with a session number"),
        ({"rx_bad_mac": 3}, "No session: 3 probes failed their check"),
        ({}, "No session: nothing of this peer came in."),
    ],
)
def test_a_peer_never_heard_says_why(reasons: dict[str, int], advice: str) -> None:
    silent = bond(path(1), session="no session")
    assert advice in text(view.bond_show(snapshot(silent, reasons=reasons), silent))


def test_notes_come_last_and_only_where_there_are_any() -> None:
    plain = bond(path(1))
    assert text(view.bond_show(snapshot(plain), plain)).splitlines()[-1].lstrip().startswith("1  eth1")
    noted = text(view.bond_show(snapshot(plain, notes=("eth1 has no XDP",)), plain)).splitlines()
    assert noted[-2:] == ["", "eth1 has no XDP"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (999, "999"), (1000, "1.0k"), (98_765_432, "98.8M"), (10**13, "10.0T"), (10**16, "10000.0T")],
)
def test_counts(value: int, shown: str) -> None:
    assert view.human_count(value) == shown


@pytest.mark.parametrize(
    ("age_ms", "shown"),
    [
        (None, "never"),
        (0.4, "0"),
        (9999, "9999"),
        (10_000, "10s"),
        (59_999, "60s"),
        (60_000, "1m"),
        (3_600_000, "1h"),
        (2 * 86_400_000, "2d"),
    ],
)
def test_ages(age_ms: float | None, shown: str) -> None:
    found = bond(path(1, lastInAge=age_ms))
    row = text(view.bond_show(snapshot(found), found)).splitlines()[20]
    assert row.split()[6] == shown


# ---- flapping, the peer's word, policies that were set -----------------------------------


def shown_of(*paths: PathSnapshot, **changes: Any) -> list[str]:
    found = bond(*paths, **changes)
    return text(view.bond_show(snapshot(found), found)).splitlines()


def test_a_held_path_says_for_how_long_and_why() -> None:
    held = path(2, state="held", eligible=False, active=False, flaps=4, heldMs=3149.0)
    lines = shown_of(path(1, flaps=1), held)
    assert lines[-1] == "path 2 (eth2): held 3.1 s more after 4 flaps"
    assert lines[-2] == "", "only the one that is held"


@pytest.mark.parametrize(
    ("mode", "by_peer", "farther", "shown"),
    [
        ("primary", None, False, "primary"),
        ("primary", False, False, "primary"),
        ("primary", True, False, "spare (peer)"),
        ("primary", True, True, "spare (peer)"),
        ("primary", False, True, "spare (far)"),
        ("spare", True, False, "spare"),
        ("spare", False, False, "spare"),
    ],
)
def test_mode_says_for_whose_sake_a_path_is_a_spare(
    mode: str, by_peer: bool | None, farther: bool, shown: str
) -> None:
    assert f" {shown}  tc" in shown_of(path(1, mode=mode, peerSpare=by_peer, farther=farther))[16]


def test_an_address_that_was_learnt_says_so() -> None:
    lines = shown_of(path(1), path(2, learnt=True, configuredAddress="10.0.0.9:9944"))
    shown = [line for line in lines if "10.77." in line]
    assert "(learnt)" not in shown[0] and "(learnt)" in "".join(lines)


@pytest.mark.parametrize("keys", [None, KeySnapshot(None, 0, 0, None, ())], ids=["shared key", "public keys"])
def test_a_peer_that_has_to_begin(keys: KeySnapshot | None) -> None:
    lines = " ".join(shown_of(session="no session", waits=True, keys=keys))
    assert "the file has no endpoints of the peer, so it has to begin" in lines


def test_the_peers_policy() -> None:
    assert "Peer's Policy          : balance-xor" in shown_of(path(1), peerPolicy="balance-xor")


def test_a_policy_that_was_set_is_told_from_the_files() -> None:
    lines = shown_of(path(1), bondingPolicyStr="balance-xor")
    assert lines[1] == "Bond                   : balance-xor (until the next up; in the file: office)"


def keyed(**changes: Any) -> KeySnapshot:
    return replace(KeySnapshot(age=42.4, rekeys=0, tries=0, connections=3, features=()), **changes)


def test_connections_are_one_and_the_others() -> None:
    """Where there are several on a path, with what both ends have agreed on."""
    lines = shown_of(path(1, connections=3), numConnections=3, connections="1 + 2", connectionsPerPath=3)
    assert "Connections            : 1 + 2 (3 agreed, on each path)" in lines
    assert " 1 + 2 " in next(line for line in lines if line.endswith("up active"))
    other = shown_of(path(2, connections=128, state="down", active=False, alive=False))
    assert " 128 " in next(line for line in other if line.endswith("down"))


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        (keyed(), "Session                : up, agreed 42 s ago"),
        (keyed(rekeys=7), "Session                : up, agreed 42 s ago, renewed 7 times"),
        (keyed(tries=2), "Session                : up, agreed 42 s ago; asked 2 times for another"),
    ],
)
def test_a_session_of_a_handshake(keys: KeySnapshot, line: str) -> None:
    one = bond(path(1), keys=keys)
    assert line in text(view.bond_show(snapshot(one), one)).splitlines()


@pytest.mark.parametrize(
    ("reasons", "said"),
    [
        ({}, "No session: asked 4 times, no answer."),
        ({"handshake_unknown_peer": 5}, "5 messages of handshakes are of a public key that is no peer's."),
        (
            {"handshake_failed": 2, "handshake_unknown_peer": 5},
            "2 messages of handshakes do not authenticate.",
        ),
        ({"handshake_replayed": 1}, "Is the peer's clock right?"),
        ({"rx_unknown_session": 1}, "1 messages of handshakes are for another public key than ours"),
    ],
)
def test_why_there_is_no_session_of_a_handshake(reasons: dict[str, int], said: str) -> None:
    one = bond(session="no session", keys=keyed(age=None, connections=None, tries=4))
    assert said in text(view.bond_show(snapshot(one, reasons=reasons), one), 200)


def test_an_estimated_capacity_is_told_from_a_given_one() -> None:
    for shown, changes in (
        ("~96", {"capacityEstimated": 96.2}),
        ("~4.6", {"capacityEstimated": 4.56}),
        ("100", {"capacity": 100, "capacityEstimated": 96.2}),
    ):
        assert f" {shown} " in "\n".join(shown_of(path(1, **changes)))


def test_an_avoided_path_and_how_long_still() -> None:
    lines = shown_of(path(1, avoided=True, avoidedMs=42_000.0))
    assert any("up active avoided" in line for line in lines)
    assert "used again once it has been well for 42 s" in " ".join(lines)


# ---- what the peer reports ------------------------------------------------------------------

PEER = PeerViewSnapshot(
    policy="berlin-rr",
    policyBase="balance-rr",
    peerFailoverInterval=500,
    version="0.1.0",
    peerFeatures=("copies", "reports"),
    reports=12,
    reportAge=31.6,
    reportGap=131.4,
    reportLate=2.0,
    reportStall=1.0,
)
SEEN = PathViewSnapshot("link down", "primary", False, False, 0.5, None, 0.25, 0.0)


def test_the_peers_view() -> None:
    lines = shown_of(path(1, peerView=SEEN), path(2), peerView=PEER, peerViewMissing=None, metadataPath=1)
    assert "Peer's Policy          : berlin-rr (balance-rr)" in lines
    assert "Peer's View            : heard 32 ms ago, longest gap 131 ms" in lines
    assert "Metadata Connection    : path 1" in lines
    table = lines[lines.index("idx  interface  peer_state  peer_mode   lat  pdv     plr     per  used") :]
    assert table[2].split() == ["1", "eth1", "link", "down", "primary", "0.50", "-", "0.2500", "0.0000", "0"]
    assert table[3] == "", "nothing of the path that the peer has said nothing of"


def test_an_old_report_and_no_path() -> None:
    old = replace(PEER, reportAge=75_000.0)
    lines = shown_of(path(1), peerView=old, peerViewMissing=None)
    assert "Peer's View            : heard 1m ago, longest gap 131 ms" in lines
    assert "Metadata Connection    : no path" in lines
    assert not [line for line in lines if "peer_state" in line]


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        (
            {"peerView": PEER},
            "The peer sends by another policy: berlin-rr (balance-rr). Here it is office (balance-xor).",
        ),
        ({"peerView": replace(PEER, policyBase="balance-xor")}, None),
        (
            {"peerPolicy": "broadcast"},
            "The peer sends by another policy: broadcast. Here it is office (balance-xor).",
        ),
        ({"peerPolicy": "active-backup", "basePolicy": "none", "bondingPolicyStr": "none"}, None),
        ({}, None),
    ],
)
def test_policies_that_differ_are_named(changes: dict[str, Any], note: str | None) -> None:
    found = bond(path(1), **changes)
    lines = text(view.bond_show(snapshot(found), found), 160).splitlines()
    assert [line for line in lines if "another policy" in line] == ([note] if note else [])


def test_the_peers_view_fits_80_columns() -> None:
    longest = replace(SEEN, peerLatencyMean=12345.6, peerLatencyVariance=9999.94)
    same = replace(PEER, policyBase="balance-xor", reportGap=9_999.0)
    lines = shown_of(replace(LONGEST, peerView=longest), peerView=same, peerViewMissing=None)
    assert max(map(len, lines)) <= 80
