"""Which policy parameters go together, and what an accepted policy becomes."""

from __future__ import annotations

import pytest

from mpbond.config.model import BasePolicy, LinkMode, LinkQuality, RedundantRule, SelectMethod
from mpbond.errors import ConfigError
from tests.unit.config.sample import Bad, assert_bad, assert_only, good, good_policy, policy, settings, top

P = "settings.policies.p"
FIVE = ("active-backup", "broadcast", "balance-rr", "balance-xor", "balance-aware")

VALID_FOR = {
    "packetsPerLink: 1": ("balance-rr",),
    "linkSelectMethod: always": ("active-backup",),
    "activeReselect: always": ("active-backup",),
    "linkQuality: {}": ("active-backup", "balance-aware"),
    "redundant: [{dscp: 46}]": ("balance-rr", "balance-xor", "balance-aware"),
    "stripe: false": ("balance-aware",),
    "alignDelay: false": ("balance-rr", "balance-aware"),
    "alignDelayMax: 20": ("balance-rr", "balance-aware"),
    "failoverInterval: 500": FIVE,
    "upDelay: 1": FIVE,
    "downDelay: 1": FIVE,
    "links: {eth0: {capacity: 100, ipvPref: 46, mode: primary}}": FIVE,
}


@pytest.mark.parametrize("base", FIVE)
@pytest.mark.parametrize("parameter", VALID_FOR)
def test_parameter_is_valid_for_its_base_policies_only(parameter: str, base: str) -> None:
    if base in VALID_FOR[parameter]:
        assert good_policy(parameter, base).base == base
        return
    key = parameter.partition(":")[0]
    wanted = "it only with basePolicy " + " or ".join(sorted(VALID_FOR[parameter]))
    assert_only(Bad(policy(parameter, base), 4, f"{P}.{key}", (f"found {key} under {base}", wanted)))


@pytest.mark.parametrize("base", FIVE[1:])
def test_failover_to_is_for_active_backup(base: str) -> None:
    text = policy("links: {eth0: {failoverTo: eth1}, eth1: {}}", base)
    wanted = "it only with basePolicy active-backup"
    assert_only(Bad(text, 4, f"{P}.links.eth0.failoverTo", (f"failoverTo under {base}", wanted)))


def links(body: str, base: str = "active-backup") -> str:
    return policy(f"links: {{{body}}}", base)


ROWS = [
    Bad(policy("upDelay: 1", None), 4, f"{P}.basePolicy", ("no such key", "one of active-backup, broadcast")),
    Bad(policy("basePolicy: none", None), 4, f"{P}.basePolicy", ("found none", "one of active-backup")),
    Bad(policy("basePolicy: active-backp", None), 4, f"{P}.basePolicy", ("did you mean active-backup",)),
    Bad(
        policy("linkSelectMethod: always, activeReselect: always", "active-backup"),
        4,
        f"{P}.activeReselect",
        ("activeReselect beside linkSelectMethod", "one of the two"),
    ),
    Bad(
        policy("alignDelay: true"),
        4,
        f"{P}.alignDelay",
        ("alignDelay without stripe", "stripe: true beside it"),
    ),
    Bad(links(""), 4, f"{P}.links", ("found no link", "at least one link", "leave links out")),
    Bad(links("eth0: "), 4, f"{P}.links.eth0", ("found nothing", "write {} for none of its keys")),
    Bad(links("eth0: {failoverTo: eth0}"), 4, f"{P}.links.eth0.failoverTo", ("the circle eth0 -> eth0",)),
    Bad(
        links("a: {failoverTo: b}, b: {failoverTo: c}, c: {failoverTo: b}"),
        4,
        f"{P}.links.c.failoverTo",
        ("the circle b -> c -> b", "a chain that ends"),
    ),
    Bad(
        links("eth0: {failoverTo: eth5}, eth1: {}"),
        4,
        f"{P}.links.eth0.failoverTo",
        ("the unlisted link eth5", "a link of this policy (eth0, eth1)", "did you mean eth"),
    ),
    Bad(links("eth0: {failoverTo: wlan7}"), 4, f"{P}.links.eth0.failoverTo", ("add it to links",)),
    Bad(links("eth0: {failoverTo: [a]}"), 4, f"{P}.links.eth0.failoverTo", ("a list", "an interface name")),
    Bad(
        links("eth0: {mode: primary}, eth1: {mode: primary}"),
        4,
        f"{P}.links.eth1.mode",
        ("a second primary (the first is eth0)", "one primary in active-backup"),
    ),
    Bad(
        links("eth0: {mode: spare}, eth1: {}", "broadcast"),
        4,
        f"{P}.links.eth0.mode",
        ("spare under broadcast", "no spare links"),
    ),
    Bad(links("mp0: {}"), 4, f"{P}.links.mp0", ("another interface", "belongs to the bond itself")),
    Bad(links("mp0-tx: {}"), 4, f"{P}.links.mp0-tx", ("belongs to the bond itself",)),
    Bad(
        links("eth0.100.200.300: {}"), 4, f'{P}.links."eth0.100.200.300"', ("an interface name: 1..15 bytes",)
    ),
    Bad(links("'a b': {}"), 4, f'{P}.links."a b"', ("no whitespace, slash, colon",)),
    Bad(links("a/b: {}"), 4, f'{P}.links."a/b"', ("an interface name",)),
    Bad(links("'a:b': {}"), 4, f'{P}.links."a:b"', ("an interface name",)),
    Bad(links("'%d': {}"), 4, f'{P}.links."%d"', ("an interface name",)),
    Bad(links(".: {}"), 4, f'{P}.links."."', ("an interface name",)),
    Bad(links("..: {}"), 4, f'{P}.links.".."', ("an interface name",)),
    Bad(links("'': {}"), 4, f'{P}.links.""', ("an interface name",)),
    Bad(links("ééééééé0: {}, éééééééé: {}"), 4, f'{P}.links."éééééééé"', ("1..15 bytes",)),
    Bad(
        policy("linkQuality: {lat_weight: 0.5}"),
        4,
        f"{P}.linkQuality",
        (
            "weights that sum to 1.25",
            "1 within 0.001",
            "pdv_weight, plr_weight, per_weight left out: 0.25 each",
        ),
    ),
    Bad(
        policy("linkQuality: {lat_weight: 0.5, pdv_weight: 0.5}"),
        4,
        f"{P}.linkQuality",
        ("weights that sum to 1.5", "plr_weight, per_weight left out"),
    ),
    Bad(
        policy("linkQuality: {lat_weight: 0.2519, pdv_weight: 0.25, plr_weight: 0.25, per_weight: 0.25}"),
        4,
        f"{P}.linkQuality",
        ("weights that sum to 1.0019",),
    ),
    Bad(policy("linkQuality: {lat_weight: 0.2489}"), 4, f"{P}.linkQuality", ("weights that sum to 0.9989",)),
    Bad(policy("redundant: [{}]"), 4, f"{P}.redundant[0]", ("at least one of dscp, protocol",)),
    Bad(policy("redundant: [{dscp: 1}, {dscp: 1}]"), 4, f"{P}.redundant[1]", ("the same as", "redundant[0]")),
    Bad(
        policy(f"redundant: [{', '.join(f'{{dscp: {dscp}}}' for dscp in range(9))}]"),
        4,
        f"{P}.redundant",
        ("9 rules", "at most 8"),
    ),
    Bad(
        policy("redundant: [{ports: [1, 2, 3, 4, 5, 6, 7, 8, 9-10]}]"),
        4,
        f"{P}.redundant[0].ports",
        ("9 ports and ranges", "at most 8"),
    ),
    Bad(
        policy("redundant: [{protocol: icmp, ports: [1]}]"),
        4,
        f"{P}.redundant[0].ports",
        ("ports with protocol icmp", "only with tcp, udp, sctp"),
    ),
    *(
        Bad(
            policy(f"redundant: [{{ports: [{port}]}}]"), 4, f"{P}.redundant[0].ports[0]", ("a port 1..65535",)
        )
        for port in (
            "0",
            "65536",
            "7-6",
            "0-5",
            "5-65536",
            "-5",
            "5-",
            "a-b",
            "'7'",
            "1-2-3",
            "~",
            "[]",
            "９",
        )
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_refused_policy(row: Bad) -> None:
    assert_only(row)


def test_broken_policy_gives_every_problem_once() -> None:
    text = policy(
        "upDelay: -1, upDelai: 2, packetsPerLink: x, links: {eth0: {ipvPref: 5, failoverTo: e}}", "broadcast"
    )
    for key in ("upDelay", "upDelai", "packetsPerLink", "links.eth0.ipvPref", "links.eth0.failoverTo"):
        assert_bad(Bad(text, 4, f"{P}.{key}", ("found",)))


def test_defaults_of_a_custom_policy() -> None:
    policy_ = good_policy("", "balance-aware")
    assert (policy_.failover_interval_ms, policy_.up_delay_ms, policy_.down_delay_ms) == (5000, 0, 0)
    assert (policy_.packets_per_link, policy_.link_quality) == (64, LinkQuality())
    assert (policy_.stripe, policy_.align_delay, policy_.align_delay_max_ms) == (False, False, 150)
    assert policy_.links == ()
    assert policy_.redundant == ()


@pytest.mark.parametrize(
    ("body", "primary"),
    [
        ("eth0: {}, eth1: {}", "eth0"),
        ("eth0: {mode: spare}, eth1: {}, eth2: {}", "eth1"),
        ("eth0: {}, eth1: {mode: primary}", "eth1"),
        ("eth0: {mode: spare}, eth1: {mode: spare}", "eth0"),
    ],
)
def test_primary_of_active_backup(body: str, primary: str) -> None:
    assert good_policy(f"links: {{{body}}}", "active-backup").primary == primary
    assert good_policy(f"links: {{{body}}}", "balance-xor").primary is None


def test_links_without_a_mode_are_no_spares() -> None:
    body = "links: {b: {mode: spare, capacity: 5}, a: {}, c: {ipvPref: 64, failoverTo: b}}"
    rules = good_policy(body, "active-backup").links
    assert [(rule.ifname, rule.mode) for rule in rules] == [
        ("b", LinkMode.SPARE),
        ("a", LinkMode.PRIMARY),
        ("c", LinkMode.PRIMARY),
    ]
    assert (rules[0].capacity_mbit, rules[2].ipv_pref, rules[2].failover_to) == (5, 64, "b")


@pytest.mark.parametrize(
    ("body", "method"),
    [
        ("upDelay: 1", SelectMethod.OPTIMIZE),
        ("links: {eth0: {}}", SelectMethod.ALWAYS),
        ("links: {eth0: {}}, linkSelectMethod: better", SelectMethod.BETTER),
        ("activeReselect: failure", SelectMethod.FAILURE),
    ],
)
def test_link_select_method_default_and_alias(body: str, method: SelectMethod) -> None:
    assert good_policy(body, "active-backup").link_select_method is method


def test_warnings_name_line_key_and_reason() -> None:
    assert good(policy("activeReselect: failure", "active-backup")).warnings == (
        "test.yaml:4: settings.policies.p.activeReselect: an alias of linkSelectMethod, the documented name",
    )
    assert good(policy("alignDelayMax: 20", "balance-rr")).warnings == (
        "test.yaml:4: settings.policies.p.alignDelayMax: has no effect without alignDelay: true",
    )


def test_two_spares_under_broadcast_are_two_errors() -> None:
    text = links("eth0: {mode: spare}, eth1: {mode: spare}", "broadcast")
    for link in ("eth0", "eth1"):
        assert_bad(Bad(text, 4, f"{P}.links.{link}.mode", ("spare under broadcast",)))


def test_redundant_rules() -> None:
    body = "redundant: [{dscp: 46}, {protocol: udp, ports: [5060, 10000-20000, '7-8'], maxSize: 300}]"
    assert good_policy(body, "balance-xor").redundant == (
        RedundantRule(dscp=46),
        RedundantRule(protocol="udp", ports=((5060, 5060), (10000, 20000), (7, 8)), max_size=300),
    )


def test_stripe_and_alignment() -> None:
    striped = good_policy("stripe: true, alignDelay: true, alignDelayMax: 1000")
    assert (striped.stripe, striped.align_delay, striped.align_delay_max_ms) == (True, True, 1000)


def test_partial_link_quality_is_completed_where_the_sum_stays_1() -> None:
    quality = good_policy("linkQuality: {lat_max: 80, plr_weight: 0.251}").link_quality
    assert (quality.lat_max_ms, quality.pdv_max_ms, quality.plr_weight) == (80.0, 100.0, 0.251)


@pytest.mark.parametrize("name", [*FIVE, "none"])
def test_custom_policy_may_not_take_a_standard_name(name: str) -> None:
    text = settings(f"policies: {{{name}: {{basePolicy: broadcast}}}}")
    wanted = ("a name that is not a standard one", "rename it")
    assert_only(Bad(text, 3, f"settings.policies.{name}", wanted))


@pytest.mark.parametrize("name", ["''", '"a\\tb"', "' a'", "x" * 65])
def test_policy_names_are_printable(name: str) -> None:
    text = top(f"settings: {{policies: {{{name}: {{basePolicy: broadcast}}}}}}")
    with pytest.raises(ConfigError, match=r"a policy name of 1\.\.64 printable characters"):
        good(text)


def test_standard_names_are_policies_by_themselves() -> None:
    for name in FIVE:
        chosen = good(settings(f"defaultBondingPolicy: {name}")).default_policy
        assert (chosen.name, chosen.base) == (name, BasePolicy(name))
    assert good(settings("defaultBondingPolicy: none")).default_policy.base is BasePolicy.NONE
    assert good(settings("")).default_policy.base is BasePolicy.NONE
