"""Small configurations, and what loading a bad one says."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from mpbond.config import load_text
from mpbond.config.model import Config, Policy
from mpbond.errors import ConfigError, Problem

ZERO_KEY = "0" * 64
HEAD = "node: {id: 0123456789}\npeers: {}\n"


@dataclass(frozen=True)
class Bad:
    """A whole file, and the one problem that must be among those found in it."""

    text: str
    line: int
    key: str
    fragments: tuple[str, ...]

    @property
    def id(self) -> str:
        return f"{self.key}: {self.fragments[0]}"


def settings(body: str) -> str:
    """A file whose third line is `settings`, as a flow mapping."""
    return f"{HEAD}settings: {{{body}}}\n"


def policy(body: str, base: str | None = "balance-aware") -> str:
    """A file with a policy `p` on line 4."""
    head = f"basePolicy: {base}, " if base else ""
    return f"{HEAD}settings: {{defaultBondingPolicy: p, policies: {{\n  p: {{{head}{body}}}}}}}\n"


def peer(body: str, *, complete: bool = True) -> str:
    """A file with the peer abcdef0123 on line 3, with a key and a network unless told otherwise."""
    head = f"key: '{ZERO_KEY}', allowed: [10.9.0.2/32], " if complete else ""
    return f"node: {{id: 0123456789}}\npeers:\n  abcdef0123: {{{head}{body}}}\n"


# Of the private key of 32 zero bytes, and of the public key that counts from 0.
ZERO_ID, COUNTED_ID = "128ec6c967", "411f75f6f3"


def by_public_key(body: str, node: str = "privateKeyFile: private.key") -> str:
    """A file with the peer of the public key that counts from 0 on line 3."""
    return f"node: {{{node}}}\npeers:\n  {COUNTED_ID}: {{allowed: [10.9.0.2/32], {body}}}\n"


def top(body: str) -> str:
    """A file whose third line is `body`."""
    return HEAD + body + "\n"


def wrapped(block: str) -> str:
    """A block of ZeroTier's document with the top-level keys that it lacks."""
    whole = json.dumps({"node": {"id": "0123456789"}, "peers": {}})
    return whole[:-1] + ",\n" + block.strip().removeprefix("{")


def problems(text: str) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        load_text(text, "test.yaml")
    return caught.value.problems


def rendered(text: str) -> str:
    return "\n".join(problem.render("test.yaml") for problem in problems(text))


def assert_bad(row: Bad) -> None:
    """The problem is there, at its line and key, with its words in one message."""
    found = problems(row.text)
    here = [
        problem.render("test.yaml") for problem in found if (problem.line, problem.key) == (row.line, row.key)
    ]
    assert here, "\n".join(problem.render("test.yaml") for problem in found)
    assert any(all(word in line for word in row.fragments) for line in here), here


def assert_only(row: Bad) -> None:
    assert_bad(row)
    assert len(problems(row.text)) == 1, rendered(row.text)


def good(text: str) -> Config:
    return load_text(text, "test.yaml")


def good_policy(body: str, base: str | None = "balance-aware") -> Policy:
    return good(policy(body, base)).policies[0]
