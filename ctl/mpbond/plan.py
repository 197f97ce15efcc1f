"""From the layout that is to the layout that should be: steps, in order. Pure.

Additions come before what depends on them, removals after what used them. What
left the file is removed: `plan(after, before)` of any two files leads to what
`plan(after, None)` would have made.
"""

from __future__ import annotations

from dataclasses import dataclass

from mpbond.config.model import Address, Interface, Network, RxMode
from mpbond.layout import BondSpec, Layout, PathKey, PathSpec
from mpbond.redundant import told


@dataclass(frozen=True, slots=True)
class CreateDevice:
    name: str
    mtu: int

    def __str__(self) -> str:
        return f"create {self.name} with MTU {self.mtu}"


@dataclass(frozen=True, slots=True)
class SetMtu:
    name: str
    mtu: int
    before: int

    def __str__(self) -> str:
        return f"set the MTU of {self.name} to {self.mtu} (was {self.before})"


@dataclass(frozen=True, slots=True)
class SetCutting:
    name: str
    cut: bool

    def __str__(self) -> str:
        return f"{'cut' if self.cut else 'do not cut'} super-packets on {self.name}"


@dataclass(frozen=True, slots=True)
class PutBond:
    bond: BondSpec
    is_new: bool

    def __str__(self) -> str:
        peer = self.bond.peer
        verb = "add" if self.is_new else "change"
        name = f" ({peer.name})" if peer.name else ""
        twice = "".join(f"; over two links: {told(rule)}" for rule in peer.policy.redundant)
        return f"{verb} peer {peer.id}{name} under {peer.policy.name}{twice}"


@dataclass(frozen=True, slots=True)
class RemoveBond:
    bond: BondSpec

    def __str__(self) -> str:
        return f"remove peer {self.bond.peer.id}"


@dataclass(frozen=True, slots=True)
class PutPath:
    bond: BondSpec
    path: PathSpec
    is_new: bool

    def __str__(self) -> str:
        key, verb = self.path.key, "add" if self.is_new else "change"
        state = "" if self.path.link_up else ", link down"
        return (
            f"{verb} path {self.path.number} to {self.bond.peer.id}: {key.ifname} {key.local} -> "
            f"{key.remote} port {key.port}, next hop {self.path.next_hop}, {self.path.mode}{state}"
        )


@dataclass(frozen=True, slots=True)
class RemovePath:
    bond: BondSpec
    path: PathSpec
    last_of_local: bool

    def __str__(self) -> str:
        key = self.path.key
        return (
            f"remove path {self.path.number} to {self.bond.peer.id}: {key.ifname} {key.local} -> {key.remote}"
        )


@dataclass(frozen=True, slots=True)
class AttachRx:
    ifname: str
    mode: RxMode

    def __str__(self) -> str:
        return f"take the bond's packets on {self.ifname} ({self.mode})"


@dataclass(frozen=True, slots=True)
class DetachRx:
    ifname: str

    def __str__(self) -> str:
        return f"stop taking packets on {self.ifname}"


@dataclass(frozen=True, slots=True)
class AddAddress:
    name: str
    address: Interface

    def __str__(self) -> str:
        return f"add address {self.address} to {self.name}"


@dataclass(frozen=True, slots=True)
class RemoveAddress:
    name: str
    address: Interface

    def __str__(self) -> str:
        return f"remove address {self.address} from {self.name}"


@dataclass(frozen=True, slots=True)
class PutPrefix:
    """Which peer a prefix belongs to, in the kernel's trie."""

    prefix: Network
    bond: BondSpec

    def __str__(self) -> str:
        return f"let {self.prefix} belong to peer {self.bond.peer.id}"


@dataclass(frozen=True, slots=True)
class RemovePrefix:
    prefix: Network
    bond: BondSpec

    def __str__(self) -> str:
        return f"let {self.prefix} belong to no peer"


@dataclass(frozen=True, slots=True)
class AddRoute:
    name: str
    prefix: Network

    def __str__(self) -> str:
        return f"route {self.prefix} to {self.name}"


@dataclass(frozen=True, slots=True)
class RemoveRoute:
    name: str
    prefix: Network

    def __str__(self) -> str:
        return f"remove the route of {self.prefix} to {self.name}"


@dataclass(frozen=True, slots=True)
class Listen:
    """For peers that begin by themselves: what comes to this address is looked at."""

    address: Address

    def __str__(self) -> str:
        return f"wait for peers at {self.address}"


@dataclass(frozen=True, slots=True)
class StopListening:
    address: Address

    def __str__(self) -> str:
        return f"wait for nobody at {self.address}"


@dataclass(frozen=True, slots=True)
class BringUp:
    name: str

    def __str__(self) -> str:
        return f"bring {self.name} up"


Step = (
    CreateDevice
    | SetMtu
    | SetCutting
    | PutBond
    | RemoveBond
    | PutPath
    | RemovePath
    | AttachRx
    | DetachRx
    | AddAddress
    | RemoveAddress
    | PutPrefix
    | RemovePrefix
    | AddRoute
    | RemoveRoute
    | Listen
    | StopListening
    | BringUp
)


def _place(path: PathSpec) -> tuple[PathKey, int, int]:
    """Whose change means another path in the kernel: measured anew, found by another
    key. A link that was made anew has its old name and another ifindex."""
    return path.key, path.number, path.ifindex


def _bond_steps(after: BondSpec, before: BondSpec | None) -> list[Step]:
    """Additions and changes of one bond; its removals are _path_removals'."""
    steps: list[Step] = []
    if before is None or before.peer != after.peer:
        steps.append(PutBond(after, before is None))
    old = {_place(path): path for path in before.paths} if before else {}
    steps += [
        PutPath(after, path, _place(path) not in old) for path in after.paths if old.get(_place(path)) != path
    ]
    owned = set(before.peer.allowed) if before else set()
    steps += [PutPrefix(prefix, after) for prefix in after.peer.allowed if prefix not in owned]
    return steps


def _removals(
    after: BondSpec | None, before: BondSpec, keep: set[object], prefixes: set[Network]
) -> list[Step]:
    """What of `before` is not in `after`. `keep`: local addresses still in use."""
    kept = {_place(path) for path in after.paths} if after else set()
    steps: list[Step] = [
        RemovePath(before, path, path.key.local not in keep)
        for path in before.paths
        if _place(path) not in kept
    ]
    steps += [RemovePrefix(prefix, before) for prefix in before.peer.allowed if prefix not in prefixes]
    if after is None:
        steps.append(RemoveBond(before))
    return steps


def plan(after: Layout, before: Layout | None) -> tuple[Step, ...]:
    """The steps from `before` (None: nothing there) to `after`, in order."""
    steps: list[Step] = []
    old_bonds = {bond.peer.id: bond for bond in before.bonds} if before else {}
    new_bonds = {bond.peer.id: bond for bond in after.bonds}
    locals_in_use: set[object] = {path.key.local for bond in after.bonds for path in bond.paths}
    listened = before.listens if before else ()
    if before is None:
        steps.append(CreateDevice(after.name, after.mtu))
    elif before.mtu != after.mtu:
        steps.append(SetMtu(after.name, after.mtu, before.mtu))
    for peer_id, old in old_bonds.items():
        steps += _removals(new_bonds.get(peer_id), old, locals_in_use | set(after.listens), set(after.routes))
    steps += [
        StopListening(address)
        for address in listened
        if address not in after.listens and address not in locals_in_use
    ]
    steps += [Listen(address) for address in after.listens if address not in listened]
    was_cut = before is not None and before.cut
    if after.cut and not was_cut:
        steps.append(SetCutting(after.name, True))
    for peer_id, bond in new_bonds.items():
        steps += _bond_steps(bond, old_bonds.get(peer_id))
    if was_cut and not after.cut:
        steps.append(SetCutting(after.name, False))
    steps += _interface_steps(after, before)
    return tuple(steps)


def _interface_steps(after: Layout, before: Layout | None) -> list[Step]:
    name = after.name
    old_rx = dict(before.rx) if before else {}
    old_addresses = before.addresses if before else ()
    old_routes = before.routes if before else ()
    gone = [address for address in old_addresses if address not in after.addresses]
    lost = _routes_lost(after, old_addresses, gone)
    steps: list[Step] = [AttachRx(link, mode) for link, mode in after.rx if old_rx.get(link) != mode]
    steps += [DetachRx(link) for link in old_rx if link not in dict(after.rx)]
    steps += [RemoveRoute(name, prefix) for prefix in old_routes if prefix not in after.routes]
    steps += _address_steps(after, old_addresses, gone)
    if before is None:
        steps.append(BringUp(name))
    steps += [AddRoute(name, prefix) for prefix in after.routes if prefix not in old_routes or prefix in lost]
    return steps


def _address_steps(after: Layout, old: tuple[Interface, ...], gone: list[Interface]) -> list[Step]:
    """New ones come first, so that mp0 is not without any. But the kernel may take an
    IPv4 network's other addresses along with one that goes: those come after it."""
    shaken = {address.network for address in gone}
    first = [address for address in after.addresses if address not in old and address.network not in shaken]
    last = [address for address in after.addresses if address.network in shaken]
    return [
        *(AddAddress(after.name, address) for address in first),
        *(RemoveAddress(after.name, address) for address in gone),
        *(AddAddress(after.name, address) for address in last),
    ]


def _routes_lost(after: Layout, old: tuple[Interface, ...], gone: list[Interface]) -> set[Network]:
    """What the kernel takes along with a link's last IPv4 address: its IPv4 routes."""
    shaken = {address.network for address in gone}
    safe = [address for address in (*old, *after.addresses) if address.network not in shaken]
    if all(address.version == 6 for address in gone) or any(address.version == 4 for address in safe):
        return set()
    return {prefix for prefix in after.routes if prefix.version == 4}
