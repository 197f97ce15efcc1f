"""Every example in policies/: it loads, this version runs it, and its links make paths."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from mpbond import layout, plan
from mpbond.config import load_file
from mpbond.config.model import Address, Config, LinkMode
from mpbond.inventory import Inventory
from mpbond.supported import unsupported
from tests.unit.host import Nic, host

FOLDER = Path(__file__).resolve().parents[2] / "policies"
FILES = sorted(FOLDER.iterdir())
# RFC 5737, RFC 3849: nobody's example may reach a real host. (The demo's are its lab's.)
DOCUMENTATION = [
    ip_network(text) for text in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
]
# Where a policy lists no links, any will do.
ANY_LINKS = ("eth0", "eth1")

# What each is an example of: the base policies that its peers are under.
SHOWS = {
    "demo-active-backup": {"active-backup"},
    "demo-balance-xor": {"balance-xor"},
    "depot": {"active-backup"},
    "ipv6-and-ipv4": {"active-backup"},
    "office-fibre-lte": {"active-backup"},
    "per-peer": {"active-backup", "balance-xor"},
    "public-keys": {"active-backup"},
    "rapid-failover": {"active-backup"},
    "several-connections": {"balance-xor"},
    "site-to-site": {"balance-xor"},
    "spare-only-lte": {"balance-xor"},
    "two-equal-lines": {"balance-xor"},
    "unequal-lines": {"balance-aware"},
    "vehicle": {"active-backup"},
    "voice-and-bulk": {"balance-aware"},
    "voip-broadcast": {"broadcast", "balance-xor"},
}

each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)


def links_of(config: Config) -> list[str]:
    """Every link that a policy or an endpoint of the file names."""
    listed = [rule.ifname for peer in config.peers for rule in peer.policy.links]
    tied = [endpoint.link for peer in config.peers for endpoint in peer.endpoints if endpoint.link]
    return list(dict.fromkeys([*listed, *tied])) or list(ANY_LINKS)


def uplinks(names: list[str]) -> Inventory:
    """A host with these links, each with both families and default routes of its own."""
    return host(
        *(
            Nic(
                name,
                (f"10.0.{number}.2/24", f"fd00:{number}::2/64"),
                (f"default via 10.0.{number}.1 metric 100", f"default6 via fd00:{number}::1 metric 100"),
            )
            for number, name in enumerate(names, 1)
        )
    )


def is_documentation(address: Address) -> bool:
    return any(address in network for network in DOCUMENTATION if network.version == address.version)


def test_there_is_one_for_each_use() -> None:
    assert [file.name for file in FILES] == [f"{name}.yaml" for name in sorted(SHOWS)]


@each_file
def test_peers_are_under_the_policies_that_it_shows(file: Path) -> None:
    assert {peer.policy.base.value for peer in load_file(file).peers} == SHOWS[file.stem]


@each_file
def test_every_policy_written_is_some_peers(file: Path) -> None:
    config = load_file(file)
    assert {policy.name for policy in config.policies} <= {peer.policy.name for peer in config.peers}


@pytest.mark.parametrize(
    ("name", "spares"),
    [("office-fibre-lte", ["wwan0"]), ("spare-only-lte", ["expensive_lte0"]), ("vehicle", ["sat0"])],
)
def test_what_is_expensive_is_a_spare(name: str, spares: list[str]) -> None:
    (peer,) = load_file(FOLDER / f"{name}.yaml").peers
    assert [rule.ifname for rule in peer.policy.links if rule.mode is LinkMode.SPARE] == spares


@each_file
def test_runs_without_a_warning(file: Path) -> None:
    config = load_file(file)
    assert config.warnings == ()
    assert unsupported(config) == []


@each_file
def test_opens_with_a_comment_that_says_when_to_use_it(file: Path) -> None:
    lines = file.read_text().splitlines()
    opening = lines[: next(number for number, line in enumerate(lines) if not line.startswith("#"))]
    assert len(" ".join(opening)) > 80, "a sentence or two before the first key"
    assert all(len(line) <= 100 for line in lines)


@pytest.mark.parametrize(
    "file", [file for file in FILES if not file.name.startswith("demo-")], ids=lambda file: file.name
)
def test_endpoints_are_documentation_addresses_and_keys_are_files(file: Path) -> None:
    for peer in load_file(file).peers:
        assert [one.address for one in peer.endpoints if not is_documentation(one.address)] == []
        assert peer.key is None and (peer.key_file or peer.public_key)
        assert peer.key_file is None or peer.key_file.startswith("/etc/mpbond/")


@each_file
def test_every_link_makes_a_path_to_every_peer_that_may_use_it(file: Path) -> None:
    config = load_file(file)
    inventory = uplinks(links_of(config))
    wanted = layout.compute(config, inventory, block=layout.block_size(config, inventory))
    for bond in wanted.bonds:
        allowed = [rule.ifname for rule in bond.policy.links] or links_of(config)
        if bond.peer.endpoints:
            assert {path.key.ifname for path in bond.paths} == set(allowed), bond.peer.name
        else:
            assert set(allowed) <= {name for name, _ in wanted.rx}, "it may come by any of them"
    steps = plan.plan(wanted, None)
    assert sum(isinstance(step, plan.PutPath) for step in steps) == sum(len(b.paths) for b in wanted.bonds)
    assert {step.prefix for step in steps if isinstance(step, plan.AddRoute)} == set(wanted.routes)


@each_file
def test_is_told_of_in_the_policies_document(file: Path) -> None:
    assert f"../policies/{file.name})" in (FOLDER.parent / "docs/policies.md").read_text()
