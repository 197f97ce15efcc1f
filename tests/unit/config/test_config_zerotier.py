"""Every complete JSON block of ZeroTier's document loads and does what its caption says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mpbond.config.model import BasePolicy, LinkMode, LinkQuality, Policy, SelectMethod
from mpbond.supported import unsupported
from tests.unit.config import zerotier_blocks as blocks
from tests.unit.config.sample import ZERO_KEY, good, problems, wrapped

SHOWN = Path(__file__).parents[2] / "netns" / "test_document_examples.py"
NAMED = {name: text for name, text in vars(blocks).items() if name.isupper() and isinstance(text, str)}


def with_a_peer(block: str) -> str:
    """The block in a file with a peer, which is under its default policy."""
    peer = {"key": ZERO_KEY, "endpoints": ["192.0.2.1"], "allowed": ["10.9.0.2/32"]}
    return json.dumps({"node": {"id": "0123456789"}, "peers": {"abcdef0123": peer}} | json.loads(block))


def test_every_block_that_looks_whole_is_known() -> None:
    """None is left out because it was not recognised; one says itself that it is not valid."""
    looks_whole = [block for block in blocks.BLOCKS if block.text.startswith("{")]
    assert [block.text for block in looks_whole if block not in blocks.WHOLE] == [blocks.NOT_JSON]
    named = {*NAMED.values(), *blocks.STANDARD.values()}
    assert {block.text for block in blocks.WHOLE} == named - {blocks.NOT_JSON}


@pytest.mark.parametrize("block", blocks.WHOLE, ids=lambda block: f"{block.heading}: {block.info}")
def test_whole_block_loads_with_the_keys_it_lacks_and_runs(block: blocks.Block) -> None:
    text = blocks.moved(block.text) if block.text == blocks.MISPLACED else block.text
    good(wrapped(text))
    config = good(with_a_peer(text))
    assert unsupported(config) == []
    wanted = json.loads(text)["settings"]["defaultBondingPolicy"]
    assert [peer.policy.name for peer in config.peers] == [wanted]


def test_every_whole_block_is_shown_in_a_lab() -> None:
    source = SHOWN.read_text()
    names = [*(set(NAMED) - {"NOT_JSON"}), *(f'STANDARD["{name}"]' for name in blocks.STANDARD)]
    assert [name for name in names if f"blocks.{name}" not in source] == []


def default_of(block: str) -> Policy:
    return good(wrapped(block)).default_policy


def modes(policy: Policy) -> dict[str, LinkMode]:
    return {rule.ifname: rule.mode for rule in policy.links}


@pytest.mark.parametrize("name", blocks.STANDARD)
def test_standard_policy_needs_no_parameters(name: str) -> None:
    assert default_of(blocks.STANDARD[name]) == Policy(name=name, base=BasePolicy(name))


def test_rapid_active_backup_fails_over_after_a_second() -> None:
    rapid = default_of(blocks.RAPID)
    assert (rapid.name, rapid.base) == ("rapid-active-backup", BasePolicy.ACTIVE_BACKUP)
    assert rapid.failover_interval_ms == 1000
    assert rapid.link_select_method is SelectMethod.OPTIMIZE


def test_link_settings_chain_and_families() -> None:
    policy = default_of(blocks.LINK_SETTINGS)
    assert [(rule.ifname, rule.ipv_pref, rule.failover_to) for rule in policy.links] == [
        ("eth0", 46, "eth1"),
        ("eth1", 46, "eth2"),
        ("eth2", 6, None),
    ]
    assert policy.primary == "eth0"
    assert policy.link_select_method is SelectMethod.ALWAYS


def test_all_spares_count_as_none_and_are_warned_about() -> None:
    config = good(wrapped(blocks.XOR_WITH_A_SPARE))
    assert set(modes(config.default_policy).values()) == {LinkMode.PRIMARY}
    assert list(modes(config.default_policy)) == ["eth0", "eth1", "expensive_lte0"]
    (warning,) = config.warnings
    assert "xor-with-a-spare.links: every link is a spare" in warning


def test_peer_specific_bonds_take_custom_policies() -> None:
    peers = {ident: {"key": "0" * 64, "allowed": [f"10.9.0.{i}/32"]} for i, ident in enumerate(PEERS)}
    peers["1234567890"] = {"key": "0" * 64, "allowed": ["10.9.1.0/24"]}
    block = {"node": {"id": "0123456789"}, "peers": peers} | json.loads(blocks.PEER_SPECIFIC)
    config = good(json.dumps(block))
    assert [peer.policy.name for peer in config.peers] == ["my-custom-balance-xor"] * 3 + ["active-backup"]
    custom = config.peers[0].policy
    assert (custom.failover_interval_ms, custom.up_delay_ms) == (2000, 5000)


PEERS = ("f6203a2db3", "45b0301da2", "a92cb526fa")


def test_peer_specific_bonds_of_absent_peers_are_warned_about() -> None:
    config = good(wrapped(blocks.PEER_SPECIFIC))
    assert config.default_policy.name == "active-backup"
    assert [any(ident in warning for warning in config.warnings) for ident in PEERS] == [True] * 3


def test_balance_aware_limits_weights_and_capacities() -> None:
    policy = default_of(blocks.BALANCE_AWARE)
    assert policy.base is BasePolicy.BALANCE_AWARE
    assert policy.link_quality == LinkQuality(400.0, 20.0, 0.0001, 0.0001, 0.5, 0.5, 0.0, 0.0)
    assert [(rule.ifname, rule.capacity_mbit) for rule in policy.links] == [("wlan0", 250), ("eth0", 1000)]
    assert set(modes(policy).values()) == {LinkMode.PRIMARY}


def test_relative_capacities() -> None:
    policy = default_of(blocks.CAPACITIES)
    assert [rule.capacity_mbit for rule in policy.links] == [10000, 1000, 100]
    assert policy.primary is None


def test_misplaced_policy_is_told_where_to_go_and_loads_there() -> None:
    (problem,) = problems(wrapped(blocks.MISPLACED))
    assert problem.key == "settings.custom-active-backup"
    assert problem.line == 6
    assert "move it to settings.policies.custom-active-backup" in problem.advice
    config = good(wrapped(blocks.moved(blocks.MISPLACED)))
    policy = config.default_policy
    assert (policy.base, policy.primary) == (BasePolicy.ACTIVE_BACKUP, "eth0")
    assert policy.link_select_method is SelectMethod.ALWAYS
    assert modes(policy) == {
        "eth0": LinkMode.PRIMARY,
        "eth1": LinkMode.SPARE,
        "eth2": LinkMode.SPARE,
        "eth3": LinkMode.SPARE,
    }
    assert "no basePolicy; taken as active-backup" in config.warnings[0]


def test_block_marked_as_not_valid_is_refused_value_by_value() -> None:
    keys = [problem.key.rpartition(".")[2] for problem in problems(wrapped(blocks.NOT_JSON))]
    assert keys == ["upDelay", "downDelay"]
