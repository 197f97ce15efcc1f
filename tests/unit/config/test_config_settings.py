"""`settings` besides the parameters of a policy."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from mpbond.config.model import BasePolicy, Settings
from tests.unit.config.sample import HEAD, ZERO_KEY, Bad, assert_bad, assert_only, good, problems, settings

S = "settings"
PEERS = f"{{abcdef0123: {{key: '{ZERO_KEY}', allowed: [10.9.0.2/32]}}}}"

ROWS = [
    Bad(
        settings("defaultBondingPolicy: rapid"),
        3,
        f"{S}.defaultBondingPolicy",
        ("found rapid", "settings.policies (none)"),
    ),
    Bad(
        settings("defaultBondingPolicy: balance-awar"),
        3,
        f"{S}.defaultBondingPolicy",
        ("a standard policy (active-backup, broadcast", "did you mean balance-aware?"),
    ),
    Bad(
        settings("defaultBondingPolicy: rapit, policies: {rapid: {basePolicy: broadcast}}"),
        3,
        f"{S}.defaultBondingPolicy",
        ("settings.policies (rapid)", "did you mean rapid?"),
    ),
    Bad(
        settings("defaultBondingPolicy: ~"),
        3,
        f"{S}.defaultBondingPolicy",
        ("found nothing", "a standard policy"),
    ),
    Bad(
        settings("defaultBondingPolicy: [a]"), 3, f"{S}.defaultBondingPolicy", ("a list", "a standard policy")
    ),
    Bad(settings("peerSpecificBonds: {abcdef0123: x}"), 3, f"{S}.peerSpecificBonds.abcdef0123", ("found x",)),
    Bad(settings("peerSpecificBonds: {abcdef0123: 5}"), 3, f"{S}.peerSpecificBonds.abcdef0123", ("found 5",)),
    Bad(
        settings("peerSpecificBonds: {abc: broadcast}"),
        3,
        f"{S}.peerSpecificBonds.abc",
        ("10 lower-case hex digits",),
    ),
    Bad(
        settings("peerSpecificBonds: {ABCDEF0123: broadcast}"),
        3,
        f"{S}.peerSpecificBonds.ABCDEF0123",
        ("10 lower-case hex digits", "write abcdef0123"),
    ),
    Bad(
        settings("rapid: {failoverInterval: 500, basePolicy: broadcast}"),
        3,
        f"{S}.rapid",
        ("a policy directly under settings", "move it to settings.policies.rapid"),
    ),
    Bad(
        settings("rapid: {basePolicy: broadcast}, defaultBondingPolicy: rapid, policies: {}"),
        3,
        f"{S}.rapid",
        ("a policy directly under settings",),
    ),
    Bad(
        settings("active-backup: {basePolicy: active-backup, upDelay: 5}"),
        3,
        f"{S}.active-backup",
        ("a policy directly under settings", "under a name of its own"),
    ),
    Bad(settings("rapid: {a: 1}"), 3, f"{S}.rapid", ("an unknown key",)),
    Bad(settings("rapid: 5"), 3, f"{S}.rapid", ("an unknown key",)),
    Bad(
        settings("connectionPriorityLan: 30"),
        3,
        f"{S}.connectionPriorityLan",
        ("found 30", "less than connectionPriorityWan, which is 30"),
    ),
    Bad(
        settings("connectionPriorityWan: 9"),
        3,
        f"{S}.connectionPriorityWan",
        ("found 9", "more than connectionPriorityLan, which is 10"),
    ),
    Bad(
        settings("connectionPriorityWan: 50"),
        3,
        f"{S}.connectionPriorityWan",
        ("less than connectionPriorityRelay",),
    ),
    Bad(
        settings("connectionPriorityRelay: 30"),
        3,
        f"{S}.connectionPriorityRelay",
        ("more than connectionPriorityWan",),
    ),
    Bad(
        settings("connectionPriorityTcpLan: 40"),
        3,
        f"{S}.connectionPriorityTcpLan",
        ("connectionPriorityTcpWan",),
    ),
    Bad(
        settings("connectionPriorityQuicWan: 20"),
        3,
        f"{S}.connectionPriorityQuicWan",
        ("more than connectionPriorityQuicLan",),
    ),
    Bad(
        settings("connectionPriorityLan: 7, connectionPriorityWan: 7"),
        3,
        f"{S}.connectionPriorityWan",
        ("more than connectionPriorityLan, which is 7",),
    ),
    Bad(
        settings("alwaysLocalNets: [10.0.0.1/8]"), 3, f"{S}.alwaysLocalNets[0]", ("did you mean 10.0.0.0/8?",)
    ),
    Bad(
        settings("alwaysLocalNets: [10.0.0.1]"),
        3,
        f"{S}.alwaysLocalNets[0]",
        ("write 10.0.0.1/32 for one host",),
    ),
    Bad(
        settings("alwaysLocalNets: [lan]"),
        3,
        f"{S}.alwaysLocalNets[0]",
        ("a network with its prefix length",),
    ),
    Bad(
        settings("alwaysLocalNets: [10.0.0.0/8, 10.0.0.0/8]"), 3, f"{S}.alwaysLocalNets[1]", ("the same as",)
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_refused_settings(row: Bad) -> None:
    assert_only(row)


def test_misplaced_policy_is_checked_where_it_stands() -> None:
    text = settings("rapid: {basePolicy: broadcast, upDelay: -1}, defaultBondingPolicy: rapid")
    assert [one.key for one in problems(text)] == ["settings.rapid", "settings.rapid.upDelay"]


def test_empty_policy_named_by_the_default_is_misplaced_too() -> None:
    text = settings("rapid: {}, defaultBondingPolicy: rapid")
    assert [one.key for one in problems(text)] == ["settings.rapid", "settings.rapid.basePolicy"]


def test_broken_policy_does_not_make_its_users_wrong() -> None:
    text = settings("defaultBondingPolicy: p, policies: {p: 5}")
    assert_only(Bad(text, 3, "settings.policies.p", ("found 5",)))


def test_all_settings() -> None:
    config = good(
        settings(
            "multipathEnabled: false, limitBandwidthInLan: true, alwaysLocalNets: [192.0.2.0/24, 'fd00::/8'],"
            "connectionPriorityLan: 1, connectionPriorityWan: 2, connectionPriorityRelay: 3,"
            "connectionPriorityUpgradeThreshold: 4, connectionPriorityTcpLan: 5,"
            "connectionPriorityQuicLan: 6, connectionPriorityTcpWan: 7, connectionPriorityQuicWan: 8"
        )
    )
    assert config.settings == Settings(
        multipath_enabled=False,
        priority_lan=1,
        priority_wan=2,
        priority_relay=3,
        priority_upgrade_threshold=4,
        always_local_nets=(ip_network("192.0.2.0/24"), ip_network("fd00::/8")),
        limit_bandwidth_in_lan=True,
        priority_tcp_lan=5,
        priority_quic_lan=6,
        priority_tcp_wan=7,
        priority_quic_wan=8,
    )
    assert config.warnings == ()


def test_default_settings() -> None:
    assert good(HEAD).settings == Settings()


def test_bonds_without_multipath_are_warned_about() -> None:
    text = settings("multipathEnabled: false, defaultBondingPolicy: broadcast, peerSpecificBonds: {}")
    keys = [warning.split(": ")[1] for warning in good(text).warnings]
    assert keys == ["settings.defaultBondingPolicy", "settings.peerSpecificBonds"]


def test_without_multipath_every_peer_has_one_path() -> None:
    """Whatever is given beside it."""
    body = "defaultBondingPolicy: broadcast, peerSpecificBonds: {abcdef0123: balance-rr}"
    config = good(settings(f"multipathEnabled: false, {body}").replace("peers: {}", f"peers: {PEERS}"))
    assert config.default_policy.base is BasePolicy.NONE
    assert {peer.policy.base for peer in config.peers} == {BasePolicy.NONE}


@pytest.mark.parametrize("chosen", ["broadcast", "own", "none"])
def test_peer_specific_bond_takes_standard_and_custom_names(chosen: str) -> None:
    body = f"policies: {{own: {{basePolicy: balance-rr}}}}, peerSpecificBonds: {{abcdef0123: {chosen}}}"
    config = good(
        settings(f"defaultBondingPolicy: balance-xor, {body}").replace("peers: {}", f"peers: {PEERS}")
    )
    assert config.peers[0].policy.name == chosen
    assert config.default_policy.name == "balance-xor"
    assert config.warnings == ()


def test_peer_specific_bond_of_a_stranger_is_warned_about() -> None:
    (warning,) = good(settings("peerSpecificBonds: {abcdef0123: broadcast}")).warnings
    assert warning == (
        "test.yaml:3: settings.peerSpecificBonds.abcdef0123: no peer has this id, so nothing uses the entry"
    )


def test_two_bad_entries_are_two_problems() -> None:
    text = settings("peerSpecificBonds: {abc: broadcast, abcdef0123: x}")
    assert_bad(Bad(text, 3, f"{S}.peerSpecificBonds.abc", ("10 lower-case",)))
    assert_bad(Bad(text, 3, f"{S}.peerSpecificBonds.abcdef0123", ("found x",)))
