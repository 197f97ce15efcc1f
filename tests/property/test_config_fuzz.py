"""Whatever the text: a frozen `Config`, or a `ConfigError` whose problems can be shown.

10,000 examples in all: valid files with pieces changed, random trees of known and
unknown keys, and text and bytes that were never meant to be a configuration.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mpbond.config import load_bytes, load_text
from mpbond.config.model import BasePolicy, Config
from mpbond.errors import ConfigError
from tests.unit.config import zerotier_blocks as blocks
from tests.unit.config.sample import wrapped
from tests.unit.config.test_config_keys import KEYS_OF

FILE = "fuzz.yaml"
KEY = "0" * 64


def examples(count: int) -> settings:
    slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(deadline=None, database=None, suppress_health_check=slow, max_examples=count)


FULL = f"""\
node: {{id: 0123456789, port: 9944}}
interface: {{name: mp0, addresses: [10.9.0.1/24], mtu: 1400, rx: {{default: tc, eth0: xdp}}}}
settings:
  defaultBondingPolicy: own
  connectionPriorityLan: 5
  policies:
    own:
      basePolicy: balance-aware
      stripe: true
      linkQuality: {{lat_max: 80.5, lat_weight: 0.25}}
      links: {{eth0: {{capacity: 100}}, lte0: {{mode: spare, ipvPref: 46}}}}
      redundant: [{{dscp: 46, ports: [53, 5060-5070], protocol: udp}}]
  peerSpecificBonds: {{abcdef0123: balance-rr}}
peers:
  abcdef0123:
    key: '{KEY}'
    endpoints: [192.0.2.7, "[2001:db8::7]:99", {{address: "fe80::7", link: eth0}}]
    allowed: [10.9.0.2/32]
    maxSendKbps: 100
api: {{listen: "127.0.0.1:9945", tokenFile: t}}
"""
SEEDS = [
    FULL,
    FULL.replace("\n", "\r\n"),
    *(wrapped(block) for block in (blocks.LINK_SETTINGS, blocks.MISPLACED, blocks.BALANCE_AWARE)),
]
PIECES = st.one_of(
    st.sampled_from(
        [
            *(
                "\n",
                "\t",
                " ",
                ":",
                ": ",
                "- ",
                "{",
                "}",
                "[",
                "]",
                ",",
                "'",
                '"',
                "#",
                "&a ",
                "*a",
                "!!int ",
                "|\n",
            ),
            *(
                ">",
                "---\n",
                "...\n",
                "%YAML 1.1\n",
                "? ",
                "<<: ",
                "~",
                "null",
                "0x1",
                "1e3",
                ".nan",
                "-1",
                "9" * 30,
            ),
            *(
                "eth0",
                "spare",
                "broadcast",
                "abcdef0123",
                "true",
                "::1",
                "10.0.0.0/8",
                "\\",
                '"\\x00"',
                "\u2028",
                "é",
            ),
        ]
    ),
    st.text(max_size=4),
)


def lines_of(text: str) -> int:
    return max(1, len(text.splitlines()))


def check(load: Callable[[], Config], lines: int) -> None:
    """Any other exception than `ConfigError` fails the test by itself."""
    try:
        config = load()
    except ConfigError as error:
        assert error.problems
        for problem in error.problems:
            shown = problem.render(FILE)
            assert len(shown.splitlines()) == 1
            assert shown.startswith(FILE)
            assert 0 <= problem.line <= lines
            assert problem.found and problem.wanted
        assert len(str(error).splitlines()) == len(error.problems)
        return
    check_config(config)


def check_config(config: Config) -> None:
    """What the rest of the program relies on; hash() needs every part to be frozen."""
    hash(config)
    for peer in config.peers:
        shared = sum(one is not None for one in (peer.key, peer.key_file))
        assert shared == 1 or (shared == 0 and peer.public_key is not None)
        assert peer.public_key is None or config.node.has_private_key
        assert peer.allowed
    for policy in config.policies:
        names = {rule.ifname for rule in policy.links}
        assert policy.base is not BasePolicy.NONE
        assert policy.primary is None or policy.primary in names
        assert all(rule.failover_to is None or rule.failover_to in names for rule in policy.links)
    assert all(len(line.splitlines()) == 1 for line in config.warnings)


@st.composite
def changed_files(draw: st.DrawFn) -> str:
    text = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        stop = min(len(text), start + draw(st.integers(0, 12)))
        piece = draw(st.one_of(PIECES, st.just(text[stop : stop + 30]), st.just("")))
        text = text[:start] + piece + text[stop:]
    return text


@examples(3500)
@given(changed_files())
def test_changed_files(text: str) -> None:
    check(lambda: load_text(text, FILE), lines_of(text))


@st.composite
def changed_values(draw: st.DrawFn) -> str:
    """The syntax stays: one or two values or keys of a valid file are replaced."""
    tree = json.loads(
        draw(st.sampled_from([wrapped(blocks.LINK_SETTINGS), wrapped(blocks.BALANCE_AWARE), PEERS]))
    )
    for _ in range(draw(st.integers(1, 3))):
        place, key = draw(st.sampled_from(list(places(tree))))
        if draw(st.booleans()):
            place[key] = draw(VALUES)
        else:
            place[draw(NAMES)] = place.pop(key)
    return json.dumps(tree, indent=draw(st.sampled_from([None, 1, "\t"])), ensure_ascii=draw(st.booleans()))


def places(tree: dict[str, object]) -> list[tuple[dict[str, object], str]]:
    found = [(tree, key) for key in tree]
    for child in tree.values():
        if isinstance(child, dict):
            found += places(child)
    return found


PEERS = json.dumps(
    {
        "node": {"id": "0123456789"},
        "settings": {"defaultBondingPolicy": "none", "peerSpecificBonds": {"abcdef0123": "broadcast"}},
        "peers": {
            "abcdef0123": {
                "key": KEY,
                "allowed": ["10.9.0.2/32"],
                "endpoints": ["192.0.2.1", {"address": "::2"}],
            },
            "abcdef0124": {"keyFile": "k", "allowed": ["10.9.0.3/32"], "name": "b", "numConnections": 3},
        },
        "interface": {"addresses": ["10.9.0.1/24"], "rx": {"eth0": "tc"}},
    }
)
NAMES = st.one_of(
    st.sampled_from(sorted({key for keys in KEYS_OF.values() for key in keys})),
    st.sampled_from(
        ["abcdef0123", "0123456789", "eth0", "eth1", "mp0", "broadcast", "own", "default", "<<", ""]
    ),
    st.text(max_size=6),
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 70_000),
    st.integers(),
    st.floats(),
    NAMES,
    st.sampled_from(
        ["active-backup", "balance-rr", "balance-aware", "primary", "spare", "always", "tcp", KEY]
    ),
    st.sampled_from(
        ["10.9.0.0/24", "10.9.0.1/24", "::/0", "192.0.2.1:5", "[::2]:5", "fe80::1%eth0", "127.0.0.1:1"]
    ),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=4)),
    max_leaves=8,
)


@examples(2500)
@given(changed_values())
def test_changed_values(text: str) -> None:
    check(lambda: load_text(text, FILE), lines_of(text))


def section(keys: tuple[str, ...], values: st.SearchStrategy[object]) -> st.SearchStrategy[dict[str, object]]:
    """Some of the known keys, and now and then one that is not."""
    return st.dictionaries(st.one_of(*[st.sampled_from(keys)] * 9, NAMES), values, max_size=6)


P = "settings.policies.p"
LINKS = st.dictionaries(NAMES, section(KEYS_OF[f"{P}.links.eth0"], SCALARS), max_size=4)
POLICY = section(
    KEYS_OF[P],
    st.one_of(
        SCALARS,
        LINKS,
        section(KEYS_OF[f"{P}.linkQuality"], SCALARS),
        st.lists(section(KEYS_OF[f"{P}.redundant[0]"], SCALARS), max_size=3),
    ),
)
ENDPOINTS = st.lists(
    st.one_of(SCALARS, section(KEYS_OF["peers.abcdef0123.endpoints[0]"], SCALARS)), max_size=3
)
PEER = section(KEYS_OF["peers.abcdef0123"], st.one_of(SCALARS, ENDPOINTS))
TREES = st.fixed_dictionaries(
    {
        "node": st.one_of(st.just({"id": "0123456789"}), VALUES),
        "peers": st.dictionaries(NAMES, PEER, max_size=3),
    },
    optional={
        "settings": st.one_of(
            section(KEYS_OF["settings"], st.one_of(SCALARS, st.dictionaries(NAMES, POLICY, max_size=3))),
            VALUES,
        ),
        "interface": section(KEYS_OF["interface"], VALUES),
        "api": section(KEYS_OF["api"], VALUES),
    },
)


@examples(2000)
@given(TREES, st.sampled_from([None, 1]))
def test_random_trees(tree: dict[str, object], indent: int | None) -> None:
    text = json.dumps(tree, indent=indent)
    check(lambda: load_text(text, FILE), lines_of(text))


@examples(1000)
@given(st.one_of(st.text(), st.lists(PIECES, max_size=30).map("".join)))
def test_any_text(text: str) -> None:
    check(lambda: load_text(text, FILE), lines_of(text))


def spoil(parts: tuple[str, bytes]) -> bytes:
    return parts[0].encode() + parts[1]


@examples(1000)
@given(
    st.one_of(st.binary(max_size=200), st.tuples(st.sampled_from(SEEDS), st.binary(max_size=3)).map(spoil))
)
def test_any_bytes(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    check(lambda: load_bytes(data, FILE), lines_of(text))
