"""What the bond should look like on this host: bonds, paths, routes, MTU. Pure.

A path is link x endpoint x local address. The layout is computed from the
configuration and an inventory of the host; comparing two layouts tells what has
to change, and a path keeps its number as long as it exists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from mpbond.config.model import (
    Address,
    BasePolicy,
    Config,
    Endpoint,
    Interface,
    LinkMode,
    Network,
    Peer,
    Policy,
    RxMode,
)
from mpbond.inventory import Inventory, Link
from mpbond.learnt import Reached, waits, with_endpoints
from mpbond.uplinks import candidate_links, far_name, listening, local_addresses

OVERHEAD_V4 = 44
OVERHEAD_V6 = 64
MIN_MTU = 576
MIN_MTU_V6 = 1280
# With no path yet there is nothing to fit: Ethernet's MTU, the larger overhead.
FALLBACK_MTU = 1500 - OVERHEAD_V6
# What 64 KiB are cut into, about, at Ethernet's MTU.
SUPER_PACKET_SEGMENTS = 48
# How many links a peer may have that has no endpoints here, for room in the maps.
LINKS_OF_A_STRANGER = 4


@dataclass(frozen=True, slots=True)
class PathKey:
    """What makes a path this path and no other."""

    ifname: str
    local: Address
    remote: Address
    port: int


@dataclass(frozen=True, slots=True)
class PathSpec:
    """A path to be: `number` is its place in the bond, in 0..block-1. `whole`: its
    link hands over super-packets as they were sent. `standby`: only another policy
    wants it, which comes or goes; probed, and carries nothing."""

    key: PathKey
    number: int
    ifindex: int
    next_hop: Address
    mode: LinkMode
    capacity_mbit: int
    ipv_pref: int
    mtu: int
    link_up: bool
    ethernet: bool
    whole: bool = False
    standby: bool = False

    @property
    def overhead(self) -> int:
        return OVERHEAD_V4 if self.key.remote.version == 4 else OVERHEAD_V6


@dataclass(frozen=True, slots=True)
class BondSpec:
    """One peer's bond. `index` is its place in the bond map."""

    index: int
    peer: Peer
    paths: tuple[PathSpec, ...]

    @property
    def policy(self) -> Policy:
        return self.peer.policy


@dataclass(frozen=True, slots=True)
class Layout:
    """`cut`: some bond needs packets alone, so mp0 cuts the super-packets left to it.
    `listens`: addresses that a peer may come to which has no endpoints here."""

    name: str
    port: int
    mtu: int
    addresses: tuple[Interface, ...]
    routes: tuple[Network, ...]
    bonds: tuple[BondSpec, ...]
    rx: tuple[tuple[str, RxMode], ...]
    cut: bool = False
    listens: tuple[Address, ...] = ()

    @property
    def far_name(self) -> str:
        return far_name(self.name)


def needs_single_packets(policy: Policy) -> bool:
    """Must each packet be alone to be spread as the policy says? A copy is told by its
    number; a super-packet must not outnumber packetsPerLink (0: each goes by itself)."""
    if policy.base is BasePolicy.BALANCE_RR:
        return policy.packets_per_link < SUPER_PACKET_SEGMENTS
    return policy.base is BasePolicy.BROADCAST


def needs_cutting(policy: Policy) -> bool:
    """Must mp0 be able to cut super-packets? A rule of `redundant` may name some."""
    return needs_single_packets(policy) or bool(policy.redundant)


def _path(policy: Policy, link: Link, endpoint: Endpoint, next_hop: Address, local: Address) -> PathSpec:
    rule = next((rule for rule in policy.links if rule.ifname == link.name), None)
    return PathSpec(
        key=PathKey(link.name, local, endpoint.address, endpoint.port),
        number=-1,
        ifindex=link.ifindex,
        next_hop=next_hop,
        mode=rule.mode if rule else LinkMode.PRIMARY,
        capacity_mbit=rule.capacity_mbit if rule else 0,
        ipv_pref=rule.ipv_pref if rule else 0,
        mtu=link.mtu,
        link_up=link.up,
        ethernet=link.ethernet,
        whole=link.whole,
    )


def _of_wanted_family(spec: PathSpec) -> bool:
    return spec.ipv_pref not in (4, 6) or spec.ipv_pref == spec.key.local.version


def wanted_paths(peer: Peer, inventory: Inventory, own: str) -> list[PathSpec]:
    """Every path the configuration and the host allow, numbers still open."""
    found: dict[PathKey, PathSpec] = {}
    for link in candidate_links(peer.policy, inventory, own):
        for endpoint in peer.endpoints:
            if endpoint.link not in (None, link.name):
                continue
            route = inventory.route_over(link.ifindex, endpoint.address)
            if route is None:
                continue
            for local in local_addresses(inventory, link, route, endpoint.address):
                next_hop = route.gateway or endpoint.address
                spec = _path(peer.policy, link, endpoint, next_hop, local)
                if _of_wanted_family(spec):
                    found.setdefault(spec.key, spec)
    return list(found.values())


def number_paths(wanted: list[PathSpec], numbers: dict[PathKey, int], block: int) -> tuple[PathSpec, ...]:
    """Gives each path a number below `block`: the one it had, else the lowest free.

    Paths beyond the block are left out, latest first.
    """
    kept = {key: number for key, number in numbers.items() if any(spec.key == key for spec in wanted)}
    free = (number for number in range(block) if number not in kept.values())
    numbered: list[PathSpec] = []
    for spec in wanted:
        number = kept.get(spec.key)
        if number is None:
            number = next(free, None)
        if number is not None:
            numbered.append(replace(spec, number=number))
    return tuple(sorted(numbered, key=lambda spec: spec.number))


def _kept_paths(peer: Peer, before: tuple[PathSpec, ...], inventory: Inventory, own: str) -> list[PathSpec]:
    """Paths of links that are there but down, as far as the configuration still wants
    them: the kernel forgets their routes and IPv6 addresses, we do not."""
    down = {link.ifindex: link for link in candidate_links(peer.policy, inventory, own) if not link.up}
    kept: list[PathSpec] = []
    for spec in before:
        key, link = spec.key, down.get(spec.ifindex)
        named = [
            endpoint
            for endpoint in peer.endpoints
            if (endpoint.address, endpoint.port) == (key.remote, key.port)
            and endpoint.link in (None, key.ifname)
        ]
        if link is not None and link.name == key.ifname and named:
            kept.append(_path(peer.policy, link, named[0], spec.next_hop, key.local))
    return [spec for spec in kept if _of_wanted_family(spec)]


def _mtu(config: Config, bonds: tuple[BondSpec, ...]) -> int:
    if config.interface.mtu is not None:
        return config.interface.mtu
    fits = [path.mtu - path.overhead for bond in bonds for path in bond.paths]
    needs_v6 = any(item.version == 6 for item in config.interface.addresses) or any(
        prefix.version == 6 for peer in config.peers for prefix in peer.allowed
    )
    return max(min(fits, default=FALLBACK_MTU), MIN_MTU_V6 if needs_v6 else MIN_MTU)


def _rx(
    config: Config, bonds: tuple[BondSpec, ...], listens: list[tuple[str, Address]]
) -> tuple[tuple[str, RxMode], ...]:
    chosen = dict(config.interface.rx_links)
    names = dict.fromkeys(path.key.ifname for bond in bonds for path in bond.paths)
    names |= dict.fromkeys(name for name, _ in listens)
    return tuple((name, chosen.get(name, config.interface.rx)) for name in names)


@dataclass(frozen=True, slots=True)
class Placement:
    """What is in place already, by peer id: the bond's index, its paths."""

    index: int
    paths: tuple[PathSpec, ...]


def _all_paths(
    peer: Peer, earlier: tuple[PathSpec, ...], inventory: Inventory, own: str
) -> dict[PathKey, PathSpec]:
    wanted = {spec.key: spec for spec in wanted_paths(peer, inventory, own)}
    for spec in _kept_paths(peer, earlier, inventory, own):
        wanted.setdefault(spec.key, spec)
    return wanted


def _as_reached(
    wanted: dict[PathKey, PathSpec], reached: Sequence[Reached], inventory: Inventory
) -> dict[PathKey, PathSpec]:
    """From the address that the peer came to, where that is still the link's: no other
    would be let through by a NAT on the way."""
    found: dict[PathKey, PathSpec] = {}
    for one in reached:
        key = PathKey(one.ifname, one.local, one.remote, one.port)
        spec = wanted.get(key)
        like = (other for other in wanted.values() if replace(other.key, local=one.local) == key)
        if spec is None and _has_address(inventory, key):
            spec = next(like, None)
        if spec is not None:
            found[key] = replace(spec, key=key)
    return found


def _has_address(inventory: Inventory, key: PathKey) -> bool:
    link = inventory.link_named(key.ifname)
    if link is None:
        return False
    return any(item.ip == key.local for item in inventory.addresses_of(link.ifindex, key.local.version))


def _bond(
    peer: Peer,
    beside: Sequence[Policy],
    inventory: Inventory,
    own: str,
    index: int,
    earlier: tuple[PathSpec, ...],
    block: int,
    reached: Sequence[Reached],
) -> BondSpec:
    """What only a policy `beside` the peer's own wants is a spare: so the peer is told
    to keep its data off it too."""
    found = with_endpoints(peer, reached) if waits(peer) else peer
    wanted = _all_paths(found, earlier, inventory, own)
    for policy in beside:
        for key, spec in _all_paths(replace(found, policy=policy), earlier, inventory, own).items():
            wanted.setdefault(key, replace(spec, standby=True, mode=LinkMode.SPARE))
    if waits(peer):
        wanted = _as_reached(wanted, reached, inventory)
    numbers = {spec.key: spec.number for spec in earlier}
    return BondSpec(index, peer, number_paths(list(wanted.values()), numbers, block))


def compute(
    config: Config,
    inventory: Inventory,
    *,
    block: int,
    placed: dict[str, Placement] | None = None,
    beside: Mapping[str, Sequence[Policy]] | None = None,
    learnt: Mapping[str, Sequence[Reached]] | None = None,
) -> Layout:
    """The layout of `config` on a host like `inventory`.

    `block` is how many paths a bond may have; `placed` says what stays where it is;
    `beside` names, by peer, policies whose paths are to be there as well; `learnt` tells
    where peers without endpoints have come in.
    """
    here = placed or {}
    others = beside or {}
    taken = {placement.index for placement in here.values()}
    free = (index for index in range(len(config.peers) + len(taken)) if index not in taken)
    bonds: list[BondSpec] = []
    for peer in config.peers:
        before = here.get(peer.id)
        index = before.index if before else next(free)
        earlier = before.paths if before else ()
        also = others.get(peer.id, ())
        reached = (learnt or {}).get(peer.id, ())
        bonds.append(_bond(peer, also, inventory, config.interface.name, index, earlier, block, reached))
    done = tuple(bonds)
    listens = _listening(config, inventory, others)
    return Layout(
        name=config.interface.name,
        port=config.node.port,
        mtu=_mtu(config, done),
        addresses=config.interface.addresses,
        routes=tuple(dict.fromkeys(prefix for peer in config.peers for prefix in peer.allowed)),
        bonds=done,
        rx=_rx(config, done, listens),
        cut=any(needs_cutting(bond.policy) for bond in done),
        listens=tuple(dict.fromkeys(address for _, address in listens)),
    )


def _listening(
    config: Config, inventory: Inventory, beside: Mapping[str, Sequence[Policy]]
) -> list[tuple[str, Address]]:
    policies = [
        policy for peer in config.peers if waits(peer) for policy in (peer.policy, *beside.get(peer.id, ()))
    ]
    return listening(policies, inventory, config.interface.name)


def _paths_of(peer: Peer, inventory: Inventory, own: str) -> int:
    """How many paths it has, or may turn out to have."""
    if waits(peer):
        return LINKS_OF_A_STRANGER * len(listening([peer.policy], inventory, own))
    return len(wanted_paths(peer, inventory, own))


def block_size(config: Config, inventory: Inventory) -> int:
    """Paths to reserve per bond: a power of two with room to double, 8..128."""
    most = max((_paths_of(peer, inventory, config.interface.name) for peer in config.peers), default=0)
    block = 8
    while block < 2 * most and block < 128:
        block *= 2
    return block
