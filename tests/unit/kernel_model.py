"""A small model of what the kernel holds for one bond, which steps act on.

It behaves as the kernel does where that matters for the order of steps: a map
entry is found by its key alone, an address takes others along, routes need one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import singledispatchmethod

from mpbond import plan
from mpbond.config.model import Address, Interface, Network, Peer, RxMode
from mpbond.layout import Layout, PathSpec


@dataclass
class KernelModel:
    """Keys as in the kernel's maps; `routes` are those of mp0."""

    device: tuple[str, int] | None = None
    up: bool = False
    addresses: list[Interface] = field(default_factory=list)
    routes: set[Network] = field(default_factory=set)
    bonds: dict[int, Peer] = field(default_factory=dict)
    paths: dict[tuple[int, int], PathSpec] = field(default_factory=dict)
    remotes: dict[tuple[int, int, Address, Address, int], tuple[int, int]] = field(default_factory=dict)
    locals: set[Address] = field(default_factory=set)
    prefixes: dict[Network, int] = field(default_factory=dict)
    rx: dict[str, RxMode] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    def apply(self, steps: Iterable[plan.Step]) -> KernelModel:
        for step in steps:
            self.said.append(str(step))
            self.take(step)
        return self

    def by_peer(self) -> dict[str, object]:
        """The model with peers instead of bond indices, which two ways may differ in."""
        ids = {index: peer.id for index, peer in self.bonds.items()}
        return {
            "device": (self.device, self.up),
            "addresses": set(self.addresses),
            "routes": self.routes,
            "bonds": {peer.id: peer for peer in self.bonds.values()},
            "paths": {(ids[bond], path.key): path for (bond, _), path in self.paths.items()},
            "remotes": {(ids[bond], *key): (ids[at[0]], at[1]) for (bond, *key), at in self.remotes.items()},
            "locals": self.locals,
            "prefixes": {prefix: ids[bond] for prefix, bond in self.prefixes.items()},
            "rx": self.rx,
        }

    @singledispatchmethod
    def take(self, step: plan.Step) -> None:
        raise AssertionError(f"no such step: {step}")

    # ---- the device ------------------------------------------------------------

    @take.register
    def _(self, step: plan.CreateDevice) -> None:
        assert self.device is None
        self.device = (step.name, step.mtu)

    @take.register
    def _(self, step: plan.SetMtu) -> None:
        assert self.device == (step.name, step.before)
        self.device = (step.name, step.mtu)

    @take.register
    def _(self, step: plan.BringUp) -> None:
        assert self.device is not None
        self.up = True

    @take.register
    def _(self, step: plan.AddAddress) -> None:
        if step.address not in self.addresses:
            self.addresses.append(step.address)

    @take.register
    def _(self, step: plan.RemoveAddress) -> None:
        """The first IPv4 address of a network takes its others along
        (promote_secondaries is 0), the last of all takes the IPv4 routes."""
        if step.address not in self.addresses:
            return
        network, version = step.address.network, step.address.version
        same = [address for address in self.addresses if address.network == network]
        gone = same if version == 4 and same[0] == step.address else [step.address]
        self.addresses = [address for address in self.addresses if address not in gone]
        if version == 4 and not any(address.version == 4 for address in self.addresses):
            self.routes = {prefix for prefix in self.routes if prefix.version == 6}

    @take.register
    def _(self, step: plan.AddRoute) -> None:
        assert self.up, "a route over a link that is down is refused"
        self.routes.add(step.prefix)

    @take.register
    def _(self, step: plan.RemoveRoute) -> None:
        self.routes.discard(step.prefix)

    @take.register
    def _(self, step: plan.AttachRx) -> None:
        self.rx[step.ifname] = step.mode

    @take.register
    def _(self, step: plan.DetachRx) -> None:
        del self.rx[step.ifname]

    # ---- peers and paths ----------------------------------------------------------

    @take.register
    def _(self, step: plan.PutBond) -> None:
        assert step.is_new == (step.bond.index not in self.bonds)
        self.bonds[step.bond.index] = step.bond.peer

    @take.register
    def _(self, step: plan.RemoveBond) -> None:
        index = step.bond.index
        assert not any(bond == index for bond, _ in self.paths), "its paths go first"
        del self.bonds[index]

    @take.register
    def _(self, step: plan.PutPath) -> None:
        """A new path's place must be empty: measurements are cleared only there."""
        at = (step.bond.index, step.path.number)
        assert step.bond.index in self.bonds, "the bond comes first"
        assert step.is_new == (at not in self.paths)
        self.paths[at] = step.path
        self.remotes[_remote(step)] = at
        self.locals.add(step.path.key.local)

    @take.register
    def _(self, step: plan.RemovePath) -> None:
        del self.paths[step.bond.index, step.path.number]
        del self.remotes[_remote(step)]
        if step.last_of_local:
            self.locals.discard(step.path.key.local)

    @take.register
    def _(self, step: plan.Listen) -> None:
        self.locals.add(step.address)

    @take.register
    def _(self, step: plan.StopListening) -> None:
        self.locals.discard(step.address)

    @take.register
    def _(self, step: plan.PutPrefix) -> None:
        assert step.bond.index in self.bonds, "the bond comes first"
        self.prefixes[step.prefix] = step.bond.index

    @take.register
    def _(self, step: plan.RemovePrefix) -> None:
        del self.prefixes[step.prefix]


def _remote(step: plan.PutPath | plan.RemovePath) -> tuple[int, int, Address, Address, int]:
    key = step.path.key
    return step.bond.index, step.path.ifindex, key.local, key.remote, key.port


def installed(layout: Layout) -> KernelModel:
    """A kernel where nothing was, and `layout` has been set up."""
    return KernelModel().apply(plan.plan(layout, None))
