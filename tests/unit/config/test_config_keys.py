"""Unknown keys at every place of the file: refused, with the nearest known one."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.unit.config.sample import Bad, assert_only, peer, policy, problems, rendered, settings, top

POLICY = "settings.policies.p"
PEER = "peers.abcdef0123"


KEYS_OF = {
    "": ("node", "interface", "settings", "peers", "api"),
    "node": ("id", "port", "privateKey", "privateKeyFile"),
    "interface": ("name", "addresses", "mtu", "rx", "flows"),
    "api": ("listen", "tokenFile"),
    "settings": (
        *("defaultBondingPolicy", "policies", "peerSpecificBonds", "multipathEnabled", "alwaysLocalNets"),
        *("limitBandwidthInLan", "connectionPriorityUpgradeThreshold"),
        *(
            f"connectionPriority{name}"
            for name in ("TcpLan", "QuicLan", "TcpWan", "QuicWan", "Lan", "Wan", "Relay")
        ),
    ),
    POLICY: (
        *("basePolicy", "failoverInterval", "upDelay", "downDelay", "packetsPerLink", "linkSelectMethod"),
        *("activeReselect", "linkQuality", "links", "redundant", "stripe", "alignDelay", "alignDelayMax"),
    ),
    f"{POLICY}.linkQuality": tuple(
        f"{value}_{kind}" for kind in ("max", "weight") for value in ("lat", "pdv", "plr", "per")
    ),
    f"{POLICY}.links.eth0": ("mode", "capacity", "ipvPref", "failoverTo"),
    f"{POLICY}.redundant[0]": ("dscp", "protocol", "ports", "maxSize"),
    PEER: (
        *("name", "key", "keyFile", "publicKey", "endpoints", "allowed", "numConnections", "maxSendKbps"),
        *("maxRecvKbps", "encryption"),
    ),
    f"{PEER}.endpoints[0]": ("address", "port", "link"),
}
SURROUND: dict[str, Callable[[str], str]] = {
    "": top,
    "node": lambda body: f"\n\nnode: {{id: 0123456789, {body}}}\npeers: {{}}\n",
    "interface": lambda body: top(f"interface: {{{body}}}"),
    "api": lambda body: top(f"api: {{{body}}}"),
    "settings": settings,
    POLICY: policy,
    f"{POLICY}.linkQuality": lambda body: policy(f"linkQuality: {{{body}}}"),
    f"{POLICY}.links.eth0": lambda body: policy(f"links: {{eth0: {{{body}}}}}"),
    f"{POLICY}.redundant[0]": lambda body: policy(f"redundant: [{{dscp: 1, {body}}}]"),
    PEER: peer,
    f"{PEER}.endpoints[0]": lambda body: peer(f"endpoints: [{{address: 192.0.2.1, {body}}}]"),
}


@pytest.mark.parametrize(("place", "key"), [(place, key) for place, keys in KEYS_OF.items() for key in keys])
def test_misspelt_key_is_shown_its_neighbour(place: str, key: str) -> None:
    wrong = f"{key}x"
    text = SURROUND[place](f"{wrong}: 1")
    path = f"{place}.{wrong}" if place else wrong
    assert_only(
        Bad(
            text,
            3 if place != POLICY and not place.startswith(f"{POLICY}.") else 4,
            path,
            ("found an unknown key", "one of the keys", f"did you mean {key}?"),
        )
    )


@pytest.mark.parametrize("place", KEYS_OF)
def test_unknown_key_lists_all_known_ones(place: str) -> None:
    text = SURROUND[place]("zzzzzz: 1")
    (problem,) = problems(text)
    listed = re.findall(r"\w+", problem.wanted.removeprefix("one of the keys "))
    assert listed == sorted(KEYS_OF[place])
    assert problem.advice == ""
    assert "did you mean" not in rendered(text)


@pytest.mark.parametrize(
    "key", ["FAILOVERINTERVAL", "failoverinterval", "failover_interval", "failOverIntervall"]
)
def test_neighbour_is_found_whatever_the_case(key: str) -> None:
    assert_only(Bad(policy(f"{key}: 50"), 4, f"{POLICY}.{key}", ("did you mean failoverInterval?",)))


@pytest.mark.parametrize("key", ["failoverInterval", "upDelay", "links", "basePolicy"])
def test_parameter_outside_a_policy_is_told_where_it_belongs(key: str) -> None:
    assert_only(
        Bad(settings(f"{key}: 1"), 3, f"settings.{key}", ("an unknown key", "it belongs to a policy"))
    )


@pytest.mark.parametrize("key", ["defaultBondingPolicy", "policies", "multipathEnabled"])
def test_setting_at_the_top_is_told_where_it_belongs(key: str) -> None:
    assert_only(Bad(top(f"{key}: 1"), 3, key, ("an unknown key", "it belongs under settings")))
