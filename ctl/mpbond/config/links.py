"""`links` of a policy: the allow-list, its modes and its order of failover."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from mpbond.config.model import BasePolicy, LinkMode, LinkRule
from mpbond.config.quote import listing
from mpbond.config.reading import Section, Value, members
from mpbond.config.values import choice, integer, link_name, number_from

IPV_PREFERENCES = (0, 4, 6, 46, 64)


@dataclass(frozen=True, slots=True)
class Links:
    """The resolved rules; `primary` only under active-backup."""

    rules: tuple[LinkRule, ...] = ()
    primary: str | None = None


@dataclass(frozen=True, slots=True)
class _Draft:
    """A link as the file gives it: what it leaves open is None."""

    value: Value
    ifname: str
    mode: LinkMode | None = None
    capacity_mbit: int = 0
    ipv_pref: int = 0
    failover_to: str | None = None

    def at(self, key: str) -> Value:
        return Section(self.value).given(key) or self.value


def links(value: Value, base: BasePolicy | None) -> Links:
    """`base` is None where it is wrong itself; rules that depend on it are left out then."""
    entries = list(members(value))
    if not entries:
        raise value.invalid("at least one link", "leave links out to use every interface", "no link")
    drafts = [
        draft
        for _, key, child in entries
        if (draft := value.reading.attempt(child, partial(_draft, key=key), None)) is not None
    ]
    for draft in drafts:
        _check_base(draft, base)
    _check_targets(drafts, {name: None for name, _, _ in entries})
    _check_cycles(drafts)
    return _resolve(value, drafts, base)


def _draft(value: Value, key: Value) -> _Draft:
    section = Section(value, "a mapping of mode, capacity, ipvPref, failoverTo")
    draft = _Draft(
        value=value,
        ifname=link_name(key),
        mode=section.take("mode", choice(list(LinkMode)), None),
        capacity_mbit=section.take("capacity", integer(0, 1_000_000, "Mbit/s"), 0),
        ipv_pref=section.take("ipvPref", number_from(IPV_PREFERENCES), 0),
        failover_to=section.take("failoverTo", link_name, None),
    )
    section.refuse_unknown()
    return draft


def _check_base(draft: _Draft, base: BasePolicy | None) -> None:
    if base is BasePolicy.BROADCAST and draft.mode is LinkMode.SPARE:
        draft.at("mode").report("spare under broadcast", "primary", "broadcast has no spare links")
    if draft.failover_to and base not in (None, BasePolicy.ACTIVE_BACKUP):
        draft.at("failoverTo").report(f"failoverTo under {base}", "it only with basePolicy active-backup")


def _check_targets(drafts: list[_Draft], names: dict[str, None]) -> None:
    for draft in drafts:
        if draft.failover_to is None or draft.failover_to in names:
            continue
        advice = draft.value.reading.suggest(draft.failover_to, names) or "add it to links"
        found = f"the unlisted link {draft.failover_to}"
        draft.at("failoverTo").report(found, f"a link of this policy ({listing(names)})", advice)


def _check_cycles(drafts: list[_Draft]) -> None:
    """Reports each cycle once, at the link that closes it."""
    by_name = {draft.ifname: draft for draft in drafts}
    done: set[str] = set()
    for start in by_name:
        chain: dict[str, None] = {}  # in order
        name: str | None = start
        while name in by_name and name not in done and name not in chain:
            chain[name] = None
            name = by_name[name].failover_to
        if name in chain:
            walked = list(chain)
            circle = " -> ".join([*walked[walked.index(name) :], name])
            by_name[walked[-1]].at("failoverTo").report(f"the circle {circle}", "a chain that ends")
        done.update(chain)


def _resolve(value: Value, drafts: list[_Draft], base: BasePolicy | None) -> Links:
    if drafts and all(draft.mode is LinkMode.SPARE for draft in drafts):
        value.warn("every link is a spare, so none is: they are used as if no mode were given")
        drafts = [replace(draft, mode=None) for draft in drafts]
    primary = _primary(drafts) if base is BasePolicy.ACTIVE_BACKUP else None
    rules = (
        LinkRule(
            ifname=draft.ifname,
            mode=draft.mode or LinkMode.PRIMARY,
            capacity_mbit=draft.capacity_mbit,
            ipv_pref=draft.ipv_pref,
            failover_to=draft.failover_to,
        )
        for draft in drafts
    )
    return Links(tuple(rules), primary)


def _primary(drafts: list[_Draft]) -> str | None:
    """The named primary, else the first link without a mode."""
    named = [draft for draft in drafts if draft.mode is LinkMode.PRIMARY]
    for surplus in named[1:]:
        surplus.at("mode").report(
            f"a second primary (the first is {named[0].ifname})", "one primary in active-backup"
        )
    candidates = named or [draft for draft in drafts if draft.mode is None]
    return candidates[0].ifname if candidates else None
