"""One policy: its base, its parameters, and which of them go together."""

from __future__ import annotations

from functools import partial

from mpbond.config.links import Links, links
from mpbond.config.model import (
    DEFAULT_FAILOVER_MS,
    DEFAULT_PACKETS_PER_LINK,
    PROTOCOLS,
    REDUNDANT_RULES,
    RULE_RANGES,
    BasePolicy,
    LinkQuality,
    Policy,
    RedundantRule,
    SelectMethod,
)
from mpbond.config.quote import listing
from mpbond.config.reading import Section, Value
from mpbond.config.values import at_most, boolean, choice, decimal, each, integer

STANDARD = tuple(base for base in BasePolicy if base is not BasePolicy.NONE)
_BALANCE = frozenset({BasePolicy.BALANCE_RR, BasePolicy.BALANCE_XOR, BasePolicy.BALANCE_AWARE})
_ACTIVE_BACKUP = frozenset({BasePolicy.ACTIVE_BACKUP})

# The parameters that not every base policy has. failoverTo and spare are in links.py.
ONLY_FOR = {
    "packetsPerLink": frozenset({BasePolicy.BALANCE_RR}),
    "linkSelectMethod": _ACTIVE_BACKUP,
    "activeReselect": _ACTIVE_BACKUP,
    "linkQuality": _ACTIVE_BACKUP | {BasePolicy.BALANCE_AWARE},
    "redundant": _BALANCE,
    "stripe": frozenset({BasePolicy.BALANCE_AWARE}),
    "alignDelay": frozenset({BasePolicy.BALANCE_RR, BasePolicy.BALANCE_AWARE}),
    "alignDelayMax": frozenset({BasePolicy.BALANCE_RR, BasePolicy.BALANCE_AWARE}),
}
PARAMETERS = frozenset(ONLY_FOR) | {"basePolicy", "failoverInterval", "upDelay", "downDelay", "links"}

_WEIGHTS = ("lat_weight", "pdv_weight", "plr_weight", "per_weight")
_WEIGHT_TOLERANCE = 0.001
_WITH_PORTS = ("tcp", "udp", "sctp")


def standard(base: BasePolicy) -> Policy:
    """A standard policy as it comes, without any override."""
    return Policy(name=base.value, base=base)


def policy(name: str, value: Value) -> Policy:
    section = Section(value, "a mapping of policy parameters")
    base = _base(section)
    for key, bases in ONLY_FOR.items():
        _refuse_foreign(section, key, base, bases)
    allowed = section.take("links", partial(links, base=base), Links())
    parsed = Policy(
        name=name,
        base=base or BasePolicy.NONE,
        failover_interval_ms=section.take("failoverInterval", integer(20, 60_000, "ms"), DEFAULT_FAILOVER_MS),
        up_delay_ms=section.take("upDelay", integer(0, 65_535, "ms"), 0),
        down_delay_ms=section.take("downDelay", integer(0, 65_535, "ms"), 0),
        packets_per_link=section.take("packetsPerLink", integer(0, 65_535), DEFAULT_PACKETS_PER_LINK),
        link_select_method=_select_method(section),
        link_quality=section.take("linkQuality", link_quality, LinkQuality()),
        links=allowed.rules,
        redundant=section.take(
            "redundant", at_most(REDUNDANT_RULES, "rules", each(_redundant_rule, "a list of rules")), ()
        ),
        stripe=section.take("stripe", boolean, False),
        align_delay=section.take("alignDelay", boolean, False),
        align_delay_max_ms=section.take("alignDelayMax", integer(1, 1000, "ms"), 150),
        primary=allowed.primary,
    )
    section.refuse_unknown()
    _check_align(section, parsed)
    return parsed


def _base(section: Section) -> BasePolicy | None:
    select = section.given("linkSelectMethod")
    if select is not None and section.given("basePolicy") is None:
        # ZeroTier's document has such a policy; only one base has this parameter.
        section.known.append("basePolicy")
        section.value.warn("no basePolicy; taken as active-backup, the only one with linkSelectMethod")
        return BasePolicy.ACTIVE_BACKUP
    wanted = "one of " + listing([str(base) for base in STANDARD])
    return section.need("basePolicy", choice(STANDARD), wanted, None)


def _refuse_foreign(
    section: Section, key: str, base: BasePolicy | None, bases: frozenset[BasePolicy]
) -> None:
    value = section.given(key)
    if value is None or base is None or base in bases:
        return
    names = " or ".join(sorted(bases))
    value.report(f"{key} under {base}", f"it only with basePolicy {names}")


def _select_method(section: Section) -> SelectMethod:
    """`always` where links are listed, `optimize` where the choice is ours."""
    default = SelectMethod.ALWAYS if section.given("links") else SelectMethod.OPTIMIZE
    method = section.take("linkSelectMethod", choice(list(SelectMethod)), default)
    alias = section.given("activeReselect")
    if alias is None:
        section.known.append("activeReselect")
        return method
    if section.given("linkSelectMethod") is not None:
        alias.report("activeReselect beside linkSelectMethod", "one of the two", "they mean the same")
    else:
        alias.warn("an alias of linkSelectMethod, the documented name")
    return section.take("activeReselect", choice(list(SelectMethod)), method)


def link_quality(value: Value) -> LinkQuality:
    section = Section(value, "a mapping of limits and weights")
    limit = decimal("a number above 0 (ms)", positive=True)
    ratio = decimal("a ratio above 0 and at most 1", positive=True, high=1.0)
    weight = decimal("a weight of 0 or more", positive=False)
    default = LinkQuality()
    quality = LinkQuality(
        lat_max_ms=section.take("lat_max", limit, default.lat_max_ms),
        pdv_max_ms=section.take("pdv_max", limit, default.pdv_max_ms),
        plr_max=section.take("plr_max", ratio, default.plr_max),
        per_max=section.take("per_max", ratio, default.per_max),
        lat_weight=section.take("lat_weight", weight, default.lat_weight),
        pdv_weight=section.take("pdv_weight", weight, default.pdv_weight),
        plr_weight=section.take("plr_weight", weight, default.plr_weight),
        per_weight=section.take("per_weight", weight, default.per_weight),
    )
    section.refuse_unknown()
    _check_sum(section, quality)
    return quality


def _check_sum(section: Section, quality: LinkQuality) -> None:
    total = quality.lat_weight + quality.pdv_weight + quality.plr_weight + quality.per_weight
    # The last digit of a decimal fraction must not decide.
    if abs(total - 1.0) <= _WEIGHT_TOLERANCE + 1e-9:
        return
    missing = [key for key in _WEIGHTS if section.given(key) is None]
    advice = f"{listing(missing)} left out: 0.25 each" if missing else ""
    section.value.report(f"weights that sum to {total:g}", "a sum of 1 within 0.001", advice)


def _redundant_rule(value: Value) -> RedundantRule:
    section = Section(value, "a mapping of dscp, protocol, ports, maxSize")
    port_list = at_most(
        RULE_RANGES, "ports and ranges", each(_port_range, "a list of ports and LOW-HIGH ranges")
    )
    rule = RedundantRule(
        dscp=section.take("dscp", integer(0, 63), None),
        protocol=section.take("protocol", choice(list(PROTOCOLS)), None),
        ports=section.take("ports", port_list, ()),
        max_size=section.take("maxSize", integer(1, 65_535, "bytes"), None),
    )
    section.refuse_unknown()
    if not section.entries:
        raise value.invalid("at least one of dscp, protocol, ports, maxSize", found="a rule without any")
    ports = section.given("ports")
    if ports is not None and rule.protocol is not None and rule.protocol not in _WITH_PORTS:
        ports.report(f"ports with protocol {rule.protocol}", "them only with " + listing(list(_WITH_PORTS)))
    return rule


def _port_range(value: Value) -> tuple[int, int]:
    wanted = "a port 1..65535 or a range LOW-HIGH of them"
    low, dash, high = value.text(wanted).partition("-")
    if not dash:
        value.plain_text(wanted)  # only a range needs quotes, in JSON
    numbers = [low, high] if dash else [low, low]
    if not all(number.isascii() and number.isdigit() and len(number) <= 5 for number in numbers):
        raise value.invalid(wanted)
    first, last = int(numbers[0]), int(numbers[1])
    if not 1 <= first <= last <= 65_535:
        raise value.invalid(wanted)
    return first, last


def _check_align(section: Section, parsed: Policy) -> None:
    align, longest = section.given("alignDelay"), section.given("alignDelayMax")
    if align and parsed.align_delay and parsed.base is BasePolicy.BALANCE_AWARE and not parsed.stripe:
        align.report("alignDelay without stripe", "stripe: true beside it", "unstriped flows stay in order")
    elif longest and not parsed.align_delay:
        longest.warn("has no effect without alignDelay: true")
