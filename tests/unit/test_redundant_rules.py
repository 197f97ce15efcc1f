"""Rules of `redundant`: how they are told, what the kernel gets of them, over which links."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mpbond import abi, plan
from mpbond.config import model
from mpbond.config.model import LinkMode, RedundantRule
from mpbond.kernel import entries
from mpbond.layout import compute, needs_cutting, needs_single_packets
from mpbond.policies import PathView
from mpbond.redundant import best_links, told
from tests.unit.host import XOR, config, host, peer, placed, uplink

VOICE = RedundantRule(dscp=46)
ALL = RedundantRule(46, "udp", ((53, 53), (5060, 5070)), 300)

TOLD = [
    (VOICE, "dscp 46"),
    (RedundantRule(dscp=0), "dscp 0"),
    (RedundantRule(protocol="icmpv6"), "icmpv6"),
    (RedundantRule(ports=((53, 53),)), "port 53"),
    (RedundantRule(ports=((10, 20),)), "ports 10-20"),
    (RedundantRule(ports=((53, 53), (10, 20))), "ports 53 10-20"),
    (RedundantRule(max_size=1), "up to 1 bytes"),
    (ALL, "udp, ports 53 5060-5070, dscp 46, up to 300 bytes"),
]


@pytest.mark.parametrize(("rule", "text"), TOLD, ids=[text for _, text in TOLD])
def test_told(rule: RedundantRule, text: str) -> None:
    assert told(rule) == text


def test_entries() -> None:
    made = entries.rules((VOICE, ALL))
    assert made.dtype == abi.RULE
    assert len(made) == abi.REDUNDANT_RULES
    fields = ("tos", "tos_mask", "protocol", "protocol_mask", "max_size", "range_count")
    assert [int(made[0][field]) for field in fields] == [46 << 2, 0xFC, 0, 0, 65_535, 1]
    assert [int(made[1][field]) for field in fields] == [46 << 2, 0xFC, 17, 0xFF, 300, 2]
    assert (int(made[0]["low"][0]), int(made[0]["high"][0])) == (0, 65_535)
    assert made[1]["low"].tolist() == [53, 5060, *[0] * 6]
    assert made[1]["high"].tolist() == [53, 5070, *[0] * 6]
    assert not any(made[2:].tobytes())


def test_as_many_as_the_configuration_allows() -> None:
    assert (model.REDUNDANT_RULES, model.RULE_RANGES) == (abi.REDUNDANT_RULES, abi.RULE_RANGES)
    ports = tuple((port, 65_535) for port in range(1, 1 + model.RULE_RANGES))
    rules = tuple(RedundantRule(dscp=dscp, ports=ports) for dscp in range(model.REDUNDANT_RULES))
    made = entries.rules(rules)
    assert made["tos"].tolist() == list(range(0, 32, 4))
    assert made["low"].tolist() == [list(range(1, 9))] * 8


# ---- over which links ----------------------------------------------------------------------------


def view(index: int, ifname: str, score: float = 1.0, **more: object) -> PathView:
    made = PathView(index, ifname, 4, LinkMode.PRIMARY, 0, True, score)
    return replace(made, **more)  # type: ignore[arg-type]


SPARE, OUT = {"mode": LinkMode.SPARE}, {"eligible": False}
LINKS = [
    ("none", [], ()),
    ("one", [view(3, "a")], (3,)),
    ("by score", [view(0, "a", 0.5), view(1, "b", 0.9), view(2, "c", 0.7)], (1, 2, 0)),
    ("equal ones by number", [view(2, "c"), view(1, "b"), view(0, "a")], (0, 1, 2)),
    (
        "a path of every link first",
        [view(0, "a", 0.9), view(1, "a", 0.8), view(2, "a", 0.7), view(3, "b", 0.1), view(4, "b", 0.2)],
        (0, 4, 1, 3, 2),
    ),
    ("not eligible", [view(0, "a", **OUT), view(1, "b")], (1,)),
    ("no spare beside another", [view(0, "a"), view(1, "b", **SPARE)], (0,)),
    ("spares alone", [view(0, "a", 0.1, **SPARE), view(1, "b", 0.2, **SPARE)], (1, 0)),
    ("spares where the others are down", [view(0, "a", **OUT), view(1, "b", **SPARE)], (1,)),
    (
        "the family that ipvPref wants",
        [view(0, "a", 1.0, ipv_pref=64), view(1, "a", 0.1, version=6, ipv_pref=64), view(2, "b", 0.5)],
        (2, 1),
    ),
]


@pytest.mark.parametrize(("paths", "best"), [case[1:] for case in LINKS], ids=[case[0] for case in LINKS])
def test_best_links(paths: list[PathView], best: tuple[int, ...]) -> None:
    assert best_links(paths) == best


# ---- from the file to the kernel ------------------------------------------------------------------

TWICE = replace(XOR, name="voice", redundant=(VOICE, ALL))
HOST = host(uplink("eth0", 0), uplink("eth1", 1))


def test_a_plan_tells_the_rules() -> None:
    layout = compute(config(replace(peer(), policy=TWICE)), HOST, block=8)
    (step,) = [step for step in plan.plan(layout, None) if isinstance(step, plan.PutBond)]
    assert str(step).endswith(
        "under voice; over two links: dscp 46; over two links: "
        "udp, ports 53 5060-5070, dscp 46, up to 300 bytes"
    )
    assert layout.cut, "a rule may name a super-packet, which has one number only"


def test_it_is_mp0_that_cuts_and_only_what_is_named() -> None:
    assert needs_cutting(TWICE)
    assert not needs_single_packets(TWICE)
    assert not needs_cutting(XOR)


@pytest.mark.parametrize("now", [(), (ALL, VOICE), (VOICE,)], ids=["none", "another order", "one less"])
def test_other_rules_are_a_change(now: tuple[RedundantRule, ...]) -> None:
    before = compute(config(replace(peer(), policy=TWICE)), HOST, block=8)
    policy = replace(TWICE, redundant=now)
    after = compute(config(replace(peer(), policy=policy)), HOST, block=8, placed=placed(before))
    steps = plan.plan(after, before)
    assert [type(step) for step in steps] == [plan.PutBond, *([] if now else [plan.SetCutting])]
    assert plan.plan(before, before) == ()
