"""docs/configuration.md says what the code does: its examples load, its tables are complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.config.sample import (
    Bad,
    assert_bad,
    by_public_key,
    good,
    peer,
    policy,
    problems,
    settings,
    top,
)
from tests.unit.config.test_config_keys import KEYS_OF

TEXT = (Path(__file__).parents[3] / "docs" / "configuration.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
PLACES = {
    "`node`": "node",
    "`interface`": "interface",
    "`settings`": "settings",
    "`settings.policies.NAME`": "settings.policies.p",
    "`.links.IFNAME`": "settings.policies.p.links.eth0",
    "`.linkQuality`": "settings.policies.p.linkQuality",
    "`.redundant[]`": "settings.policies.p.redundant[0]",
    "`peers`": "peers.abcdef0123",
    "`api`": "api",
}
BASES = {"packetsPerLink": "balance-rr", "linkSelectMethod": "active-backup", "failoverTo": "active-backup"}


def sections() -> dict[str, str]:
    """Text below each heading that is about a place of the file."""
    parts = re.split(r"^##+ (`[^`]*`).*$", TEXT, flags=re.MULTILINE)
    return {PLACES[heading]: body for heading, body in zip(parts[1::2], parts[2::2], strict=True)}


def rows(place: str) -> dict[str, str]:
    """Key -> its example, from the table under a heading."""
    found = re.findall(r"^\| `(\w+)` \|.*\| `([^`]*)` \|$", sections()[place], re.MULTILINE)
    return dict(found)


def example(place: str, key: str, text: str) -> str:
    """The one-line example of a key, in the file around it."""
    base = BASES.get(key, "balance-aware")
    match place.rpartition(".")[2]:
        case "p" if key == "basePolicy":
            return policy(text, None)
        case "p" if key == "alignDelay":
            return policy(f"stripe: true, {text}", base)
        case "p":
            return policy(text, base)
        case "eth0":
            return policy(f"links: {{eth0: {{{text}}}, eth1: {{}}}}", base)
        case "linkQuality":
            return policy(f"linkQuality: {{{text}}}")
        case "redundant[0]":
            return policy(f"redundant: [{{{text}}}]")
        case "settings":
            return settings(text)
        case "node":
            return (
                f"node: {{id: 0123456789, {text}}}\npeers: {{}}\n"
                if key not in ("id", "privateKey")
                else f"node: {{{text}}}\npeers: {{}}\n"
            )
        case "abcdef0123":
            return of_peer(key, text)
        case _:
            return top(f"{place}: {{{text}}}")


def of_peer(key: str, text: str) -> str:
    if key == "publicKey":
        return by_public_key(text)
    if key in ("key", "keyFile"):
        return peer(f"allowed: [10.9.0.2/32], {text}", complete=False)
    if key == "allowed":
        return peer(f"keyFile: k, {text}", complete=False)
    if key in ("address", "port", "link"):
        return peer(f"endpoints: [{{{text if key == 'address' else f'address: 192.0.2.1, {text}'}}}]")
    return peer(text)


@pytest.mark.parametrize("block", BLOCKS)
def test_examples_load(block: str) -> None:
    config = good(block)
    assert config.warnings == ()
    assert [one.policy.name for one in config.peers] == ["office", "balance-aware"]


@pytest.mark.parametrize("place", [place for place in KEYS_OF if place in PLACES.values()])
def test_every_key_is_documented_with_an_example(place: str) -> None:
    documented = set(rows(place))
    known = set(KEYS_OF[place]) - {"activeReselect"}
    if place == "peers.abcdef0123":
        known |= {"address", "port", "link"}
    assert documented == known


@pytest.mark.parametrize(
    ("place", "key", "text"),
    [(place, key, text) for place in PLACES.values() for key, text in rows(place).items()],
)
def test_one_line_examples_load(place: str, key: str, text: str) -> None:
    assert text.startswith(f"{key}: ")
    good(example(place, key, text))


def test_messages_are_as_documented() -> None:
    text = (
        policy("failoverInterval: 10, uplinks: {}")
        .replace("\n  p:", "\n  office:")
        .replace(": p,", ": office,")
    )
    assert_bad(
        Bad(
            text,
            4,
            "settings.policies.office.failoverInterval",
            ("found 10, wanted a decimal integer 20..60000 (ms)",),
        )
    )
    assert "did you mean links?" in [problem.advice for problem in problems(text)]
