"""`settings`: ZeroTier's bonding keys, Syncthing's, and which peer gets which policy."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from mpbond.config.model import BasePolicy, Policy, Settings
from mpbond.config.nodes import Mapping
from mpbond.config.policy import PARAMETERS, STANDARD, policy, standard
from mpbond.config.quote import join, listing
from mpbond.config.reading import Section, Value, members
from mpbond.config.values import boolean, each, integer, network, peer_id

# Each class of paths comes before the next; Syncthing moves such values, we refuse them.
_PRIORITY_ORDER = (
    ("connectionPriorityLan", "connectionPriorityWan"),
    ("connectionPriorityTcpLan", "connectionPriorityTcpWan"),
    ("connectionPriorityQuicLan", "connectionPriorityQuicWan"),
    ("connectionPriorityWan", "connectionPriorityRelay"),
)
_PRIORITIES = {
    "connectionPriorityLan": "priority_lan",
    "connectionPriorityWan": "priority_wan",
    "connectionPriorityRelay": "priority_relay",
    "connectionPriorityUpgradeThreshold": "priority_upgrade_threshold",
    "connectionPriorityTcpLan": "priority_tcp_lan",
    "connectionPriorityQuicLan": "priority_quic_lan",
    "connectionPriorityTcpWan": "priority_tcp_wan",
    "connectionPriorityQuicWan": "priority_quic_wan",
}
SETTINGS_KEYS = frozenset(_PRIORITIES) | {
    "defaultBondingPolicy",
    "policies",
    "peerSpecificBonds",
    "multipathEnabled",
    "alwaysLocalNets",
    "limitBandwidthInLan",
}


@dataclass(frozen=True, slots=True)
class PeerBond:
    """An entry of peerSpecificBonds; `key` says where it stands."""

    key: Value
    policy: Policy


@dataclass(frozen=True, slots=True)
class Bonds:
    """`settings`, read: what is left is to give every peer its policy."""

    settings: Settings = field(default_factory=Settings)
    default: Policy = field(default_factory=lambda: standard(BasePolicy.NONE))
    custom: tuple[Policy, ...] = ()
    by_peer: dict[str, PeerBond] = field(default_factory=dict)


def bonds(value: Value) -> Bonds:
    section = Section(value)
    custom = section.take("policies", _policies, {})
    bare_settings = _settings(section)
    section.known += ["defaultBondingPolicy", "peerSpecificBonds"]
    known = {base.value: standard(base) for base in BasePolicy} | custom | _misplaced(section)

    def reference(at: Value) -> Policy:
        return _reference(at, known)

    def references(at: Value) -> dict[str, PeerBond]:
        return _peer_bonds(at, known)

    default = section.take("defaultBondingPolicy", reference, known[BasePolicy.NONE])
    by_peer = section.take("peerSpecificBonds", references, {})
    _warn_unbonded(section, bare_settings)
    if not bare_settings.multipath_enabled:
        default, by_peer = known[BasePolicy.NONE], {}
    return Bonds(bare_settings, default, tuple(custom.values()), by_peer)


def _policies(value: Value) -> dict[str, Policy]:
    parsed: dict[str, Policy] = {}
    for name, key, child in members(value):
        value.reading.attempt(key, _check_name, None)
        read = value.reading.attempt(child, partial(policy, name), None)
        # A broken policy is known all the same: who refers to it is not wrong.
        parsed[name] = read or Policy(name, BasePolicy.NONE)
    return parsed


def _check_name(value: Value) -> None:
    wanted = "a policy name of 1..64 printable characters"
    name = value.text(wanted)
    if name in set(BasePolicy):
        taken = f"a name that is not a standard one ({listing(BasePolicy)})"
        raise value.invalid(taken, "rename it, also where it is referred to")
    if not name.isprintable() or not 1 <= len(name) <= 64 or name != name.strip():
        raise value.invalid(wanted)


def _misplaced(section: Section) -> dict[str, Policy]:
    """Refuses unknown keys; those that are policies are told where they belong."""
    default = section.given("defaultBondingPolicy")
    wanted_name = default.text("a policy name") if default and default.is_text() else None
    found: dict[str, Policy] = {}
    for name, child in list(section.unknown()):
        keys = {key for key, _, _ in members(child)} if isinstance(child.node, Mapping) else set()
        if not (keys & PARAMETERS or (name == wanted_name and isinstance(child.node, Mapping))):
            section.refuse_key(name, "it belongs to a policy" if name in PARAMETERS else "")
            continue
        target = join("settings.policies", name)
        advice = f"move it to {target}"
        if name in set(BasePolicy):
            advice = "move it there under a name of its own; standard policies do not change"
        section.keys[name].report("a policy directly under settings", "it under settings.policies", advice)
        read = section.value.reading.attempt(child, partial(policy, name), None)
        found[name] = read or Policy(name, BasePolicy.NONE)
    return found


def _settings(section: Section) -> Settings:
    priority = integer(0, 65_535)
    default = Settings()
    priorities = {
        attribute: section.take(key, priority, getattr(default, attribute))
        for key, attribute in _PRIORITIES.items()
    }
    parsed = Settings(
        multipath_enabled=section.take("multipathEnabled", boolean, True),
        always_local_nets=section.take("alwaysLocalNets", each(network, "a list of networks"), ()),
        limit_bandwidth_in_lan=section.take("limitBandwidthInLan", boolean, False),
        **priorities,
    )
    _check_priorities(section, parsed)
    return parsed


def _check_priorities(section: Section, settings: Settings) -> None:
    for near, far in _PRIORITY_ORDER:
        low, high = getattr(settings, _PRIORITIES[near]), getattr(settings, _PRIORITIES[far])
        if low < high:
            continue
        if (at := section.given(far)) is not None:
            at.report(str(high), f"more than {near}, which is {low}", "the lower one is preferred")
        elif (at := section.given(near)) is not None:
            at.report(str(low), f"less than {far}, which is {high}", "the lower one is preferred")


def _reference(value: Value, known: dict[str, Policy]) -> Policy:
    own = [name for name in known if name not in set(BasePolicy)]
    wanted = f"a standard policy ({listing(STANDARD)}) or one of settings.policies ({listing(own)})"
    name = value.text(wanted)
    if name not in known:
        raise value.invalid(wanted, value.reading.suggest(name, known))
    return known[name]


def _peer_bonds(value: Value, known: dict[str, Policy]) -> dict[str, PeerBond]:
    parsed: dict[str, PeerBond] = {}
    for name, key, child in members(value):
        ident = value.reading.attempt(key, peer_id, None)
        chosen = value.reading.attempt(child, lambda at: _reference(at, known), None)
        if ident is not None and chosen is not None:
            parsed[name] = PeerBond(key, chosen)
    return parsed


def _warn_unbonded(section: Section, settings: Settings) -> None:
    if settings.multipath_enabled:
        return
    for key in ("defaultBondingPolicy", "peerSpecificBonds"):
        if (at := section.given(key)) is not None:
            at.warn("has no effect while multipathEnabled is false: every peer uses one path")
