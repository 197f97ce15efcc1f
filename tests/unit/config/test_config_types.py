"""Every key of the file: wrong types, below and above its range."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.config.sample import Bad, assert_only, good, peer, policy, settings, top

Template = Callable[[str], str]

POLICY = "settings.policies.p"
PEER = "peers.abcdef0123"


def param(key: str, base: str, rest: str = "") -> Template:
    return lambda value: policy(f"{key}: {value}{rest}", base)


def link(key: str) -> Template:
    return lambda value: policy(f"links: {{eth0: {{{key}: {value}}}}}", "active-backup")


def quality(key: str) -> Template:
    return lambda value: policy(f"linkQuality: {{{key}: {value}}}")


def rule(key: str) -> Template:
    return lambda value: policy(f"redundant: [{{{key}: {value}}}]")


def of_peer(key: str) -> Template:
    return lambda value: peer(f"{key}: {value}")


def of(section: str, key: str) -> Template:
    return lambda value: top(f"{section}: {{{key}: {value}}}")


def node_port(value: str) -> str:
    return f"\n\nnode: {{id: 0123456789, port: {value}}}\npeers: {{}}\n"


def endpoint_port(value: str) -> str:
    return peer(f"endpoints: [{{address: 192.0.2.1, port: {value}}}]")


INTEGERS: list[tuple[str, Template, int, int]] = [
    ("node.port", node_port, 1, 65535),
    ("interface.mtu", of("interface", "mtu"), 576, 65535),
    ("interface.flows", of("interface", "flows"), 1024, 16777216),
    (f"{POLICY}.failoverInterval", param("failoverInterval", "broadcast"), 20, 60000),
    (f"{POLICY}.upDelay", param("upDelay", "balance-xor"), 0, 65535),
    (f"{POLICY}.downDelay", param("downDelay", "balance-rr"), 0, 65535),
    (f"{POLICY}.packetsPerLink", param("packetsPerLink", "balance-rr"), 0, 65535),
    (f"{POLICY}.alignDelayMax", param("alignDelayMax", "balance-rr", ", alignDelay: true"), 1, 1000),
    (f"{POLICY}.links.eth0.capacity", link("capacity"), 0, 1000000),
    (f"{POLICY}.redundant[0].dscp", rule("dscp"), 0, 63),
    (f"{POLICY}.redundant[0].maxSize", rule("maxSize"), 1, 65535),
    (f"{PEER}.numConnections", of_peer("numConnections"), -2147483648, 2147483647),
    (f"{PEER}.maxSendKbps", of_peer("maxSendKbps"), 0, 2147483647),
    (f"{PEER}.maxRecvKbps", of_peer("maxRecvKbps"), 0, 2147483647),
    (f"{PEER}.endpoints[0].port", endpoint_port, 1, 65535),
    (
        "settings.connectionPriorityUpgradeThreshold",
        of("settings", "connectionPriorityUpgradeThreshold"),
        0,
        65535,
    ),
]
PRIORITIES = ("TcpLan", "QuicLan", "TcpWan", "QuicWan", "Lan", "Wan", "Relay")

NOT_INTEGERS = (
    *(
        "abc",
        "1.0",
        "1e3",
        "0x10",
        "0o17",
        "010",
        "1_000",
        "+5",
        "true",
        "~",
        "''",
        "'1000'",
        "[1]",
        "{a: 1}",
    ),
    *("9" * 5000, "-" + "9" * 5000, "１", "1:30", ".nan"),
)


def line_of(text: str) -> int:
    return 4 if "\n  p: {" in text else 3


@pytest.mark.parametrize(("key", "template", "low", "high"), INTEGERS, ids=[row[0] for row in INTEGERS])
def test_integer(key: str, template: Template, low: int, high: int) -> None:
    good(template(str(low)))
    good(template(str(high)))
    for value in (str(low - 1), str(high + 1), *NOT_INTEGERS):
        text = template(value)
        wanted = f"a decimal integer {low}..{high}"
        assert_only(Bad(text, line_of(text), key, ("found ", wanted)))


@pytest.mark.parametrize("name", PRIORITIES)
def test_priority_is_an_integer_of_16_bits(name: str) -> None:
    key = f"connectionPriority{name}"
    for value in ("-1", "65536", *NOT_INTEGERS):
        text = settings(f"{key}: {value}")
        assert_only(Bad(text, 3, f"settings.{key}", ("a decimal integer 0..65535",)))


def test_quoted_number_is_told_to_lose_its_quotes() -> None:
    assert_only(Bad(policy("upDelay: '50'"), 4, f"{POLICY}.upDelay", ('found "50"', "remove the quotes")))


BOOLEANS: list[tuple[str, Template]] = [
    ("settings.multipathEnabled", of("settings", "multipathEnabled")),
    ("settings.limitBandwidthInLan", of("settings", "limitBandwidthInLan")),
    (f"{POLICY}.stripe", param("stripe", "balance-aware")),
    (f"{POLICY}.alignDelay", param("alignDelay", "balance-rr")),
]


@pytest.mark.parametrize(("key", "template"), BOOLEANS, ids=[row[0] for row in BOOLEANS])
def test_boolean(key: str, template: Template) -> None:
    good(template("true"))
    good(template("false"))
    for value in ("yes", "no", "on", "True", "FALSE", "1", "0", "'true'", "~", "[]", "{}"):
        text = template(value)
        assert_only(Bad(text, line_of(text), key, ("wanted true or false",)))


LIMITS = {
    "lat_max": "a number above 0 (ms)",
    "pdv_max": "a number above 0 (ms)",
    "plr_max": "a ratio above 0 and at most 1",
    "per_max": "a ratio above 0 and at most 1",
    "lat_weight": "a weight of 0 or more",
    "pdv_weight": "a weight of 0 or more",
    "plr_weight": "a weight of 0 or more",
    "per_weight": "a weight of 0 or more",
}


@pytest.mark.parametrize("key", LIMITS)
def test_number(key: str) -> None:
    good(quality(key)("0.25"))
    good(quality(key)("2.5e-1"))
    bad = ["-0.1", ".nan", ".inf", "-.inf", "nan", "1e999", "abc", "0x1", "true", "~", "'0.25'", "[1]", "{}"]
    bad += ["0", "0.0", "1e-999"] if key.endswith("_max") else []
    bad += ["1.01", "5"] if key in ("plr_max", "per_max") else []
    for value in bad:
        assert_only(Bad(quality(key)(value), 4, f"{POLICY}.linkQuality.{key}", (LIMITS[key],)))


CHOICES: list[tuple[str, Template, tuple[str, ...]]] = [
    (f"{POLICY}.links.eth0.mode", link("mode"), ("primary", "spare")),
    (
        f"{POLICY}.redundant[0].protocol",
        rule("protocol"),
        ("tcp", "udp", "icmp", "icmpv6", "esp", "gre", "sctp"),
    ),
    (
        f"{POLICY}.linkSelectMethod",
        param("linkSelectMethod", "active-backup"),
        ("optimize", "always", "better", "failure"),
    ),
    (
        f"{POLICY}.activeReselect",
        param("activeReselect", "active-backup"),
        ("optimize", "always", "better", "failure"),
    ),
    ("interface.rx", of("interface", "rx"), ("auto", "tc", "xdp")),
    ("interface.rx.eth0", lambda value: top(f"interface: {{rx: {{eth0: {value}}}}}"), ("auto", "tc", "xdp")),
    (f"{PEER}.encryption", of_peer("encryption"), ("none", "wireguard")),
    (
        f"{POLICY}.basePolicy",
        lambda value: policy(f"basePolicy: {value}", None),
        ("active-backup", "broadcast", "balance-rr", "balance-xor", "balance-aware"),
    ),
]


@pytest.mark.parametrize(("key", "template", "options"), CHOICES, ids=[row[0] for row in CHOICES])
def test_choice(key: str, template: Template, options: tuple[str, ...]) -> None:
    for option in options:
        good(template(option))
        good(template(f"'{option}'"))
        text = template(f"{option}x")
        assert_only(Bad(text, line_of(text), key, ("one of", option, f"did you mean {option}")))
        assert_only(Bad(template(option.upper()), line_of(text), key, ("one of", "did you mean")))
    for value in ("zzz", "1", "~", "''", "[a]"):
        text = template(value)
        assert_only(Bad(text, line_of(text), key, ("one of", *options)))


def test_ipv_pref() -> None:
    for value in ("0", "4", "6", "46", "64"):
        good(link("ipvPref")(value))
    for value in ("5", "-4", "446", "'4'", "4.0", "04", "~", "[4, 6]"):
        row = Bad(link("ipvPref")(value), 4, f"{POLICY}.links.eth0.ipvPref", ("one of 0, 4, 6, 46, 64",))
        assert_only(row)


CONTAINERS = [
    ("node", "\n\nnode: %s\npeers: {}\n", "a mapping"),
    ("peers", "node: {id: 0123456789}\n\npeers: %s\n", "a mapping"),
    ("interface", top("interface: %s"), "a mapping"),
    ("settings", top("settings: %s"), "a mapping"),
    ("api", top("api: %s"), "a mapping"),
    ("settings.policies", settings("policies: %s"), "a mapping"),
    ("settings.policies.p", settings("policies: {p: %s}"), "a mapping of policy parameters"),
    ("settings.peerSpecificBonds", settings("peerSpecificBonds: %s"), "a mapping"),
    (f"{POLICY}.links", policy("links: %s"), "a mapping"),
    (f"{POLICY}.links.eth0", policy("links: {eth0: %s}"), "a mapping of mode, capacity, ipvPref, failoverTo"),
    (f"{POLICY}.linkQuality", policy("linkQuality: %s"), "a mapping of limits and weights"),
    (f"{POLICY}.redundant[0]", policy("redundant: [%s]"), "a mapping of dscp, protocol, ports, maxSize"),
    ("peers.abcdef0123", "node: {id: 0123456789}\npeers:\n  abcdef0123: %s\n", "a mapping"),
]


@pytest.mark.parametrize(("key", "text", "wanted"), CONTAINERS, ids=[row[0] for row in CONTAINERS])
@pytest.mark.parametrize("value", ["5", "abc", "~", "[]", "true"])
def test_mapping(key: str, text: str, wanted: str, value: str) -> None:
    whole = text.replace("%s", value)
    advice = "found nothing" if value == "~" else "found "
    assert_only(Bad(whole, line_of(whole), key, (advice, f"wanted {wanted}")))


LISTS = [
    ("interface.addresses", top("interface: {addresses: %s}"), "a list of addresses"),
    ("settings.alwaysLocalNets", settings("alwaysLocalNets: %s"), "a list of networks"),
    (f"{POLICY}.redundant", policy("redundant: %s"), "a list of rules"),
    (f"{POLICY}.redundant[0].ports", policy("redundant: [{ports: %s}]"), "a list of ports and LOW-HIGH"),
    (f"{PEER}.endpoints", peer("endpoints: %s"), "a list of endpoints"),
    (
        f"{PEER}.allowed",
        peer(f"key: '{'0' * 64}', allowed: %s", complete=False),
        "a list of at least one network",
    ),
]


@pytest.mark.parametrize(("key", "text", "wanted"), LISTS, ids=[row[0] for row in LISTS])
@pytest.mark.parametrize("value", ["5", "192.0.2.0/24", "~", "{}", "true"])
def test_list(key: str, text: str, wanted: str, value: str) -> None:
    whole = text.replace("%s", value)
    assert_only(Bad(whole, line_of(whole), key, (f"wanted {wanted}",)))
