"""Performing a plan: each step as it is said, undone in reverse if one fails."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from pyroute2 import IPRoute

from mpbond import abi, plan
from mpbond.config.model import BasePolicy, RxMode
from mpbond.errors import BondError
from mpbond.inventory import Inventory
from mpbond.kernel import device, tc
from mpbond.kernel.dataplane import Dataplane, PathEntry
from mpbond.layout import BondSpec, PathSpec, needs_single_packets
from mpbond.sessions import SessionPair
from mpbond.uplinks import far_name
from mpbond.wire import template

POLICY_CODES = {
    BasePolicy.NONE: abi.PolicyCode.ACTIVE_BACKUP,
    BasePolicy.ACTIVE_BACKUP: abi.PolicyCode.ACTIVE_BACKUP,
    BasePolicy.BROADCAST: abi.PolicyCode.BROADCAST,
    BasePolicy.BALANCE_RR: abi.PolicyCode.BALANCE_RR,
    BasePolicy.BALANCE_XOR: abi.PolicyCode.BALANCE_XOR,
    BasePolicy.BALANCE_AWARE: abi.PolicyCode.BALANCE_AWARE,
}

# Order of our filters at mp0's far end.
PRIO_PROBE, PRIO_TX = 1, 2
# Programs parked at the far end under an ethertype that nobody sends, so that a
# controller to come finds them: IEEE's second local experimental one.
PARKED = {"rx_tc": 10, "rx_l3": 11}
PARKED_PROTOCOL = 0x88B6

Undo = Callable[[], None]


def path_entry(bond: BondSpec, path: PathSpec, port: int) -> PathEntry:
    """What the kernel gets to know of a path. Not eligible: health says when."""
    flags = abi.PathFlag.USED
    if path.link_up:
        flags |= abi.PathFlag.LINK_UP
    if path.mode.value == "spare":
        flags |= abi.PathFlag.SPARE
    if path.key.remote.version == 6:
        flags |= abi.PathFlag.IPV6
    if not path.whole:
        flags |= abi.PathFlag.GRO
    return PathEntry(
        bond=bond.index,
        number=path.number,
        ifindex=path.ifindex,
        local=path.key.local,
        remote=path.key.remote,
        port=path.key.port,
        next_hop=path.next_hop,
        template=template(path.key.local, path.key.remote, (port, path.key.port), path.number),
        flags=flags,
    )


@dataclass(slots=True)
class Applier:
    """Runs steps against one data plane. `sessions`: peer id -> session pair, of peers
    that have theirs from a shared key; those of the others come with handshakes.

    `xdp` lists the links where native XDP is in use; `notes` what the user should
    hear of.
    """

    ipr: IPRoute
    plane: Dataplane
    name: str
    port: int
    sessions: dict[str, SessionPair]
    xdp: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)

    def run(self, steps: Iterable[plan.Step], inventory: Inventory, say: Callable[[str], None]) -> None:
        """All or nothing: on an error what was done is undone, then it is raised."""
        undo: list[Undo] = []
        try:
            for step in steps:
                say(str(step))
                undo += self._perform(step, inventory)
        except BaseException:
            for back in reversed(undo):
                with suppress(BondError, OSError):
                    back()
            raise

    def _perform(self, step: plan.Step, inventory: Inventory) -> list[Undo]:
        handlers: dict[type[Any], Callable[[Any, Inventory], list[Undo]]] = {
            plan.CreateDevice: self._create_device,
            plan.SetMtu: self._set_mtu,
            plan.SetCutting: self._set_cutting,
            plan.PutBond: self._put_bond,
            plan.RemoveBond: self._remove_bond,
            plan.PutPath: self._put_path,
            plan.RemovePath: self._remove_path,
            plan.AttachRx: self._attach_rx,
            plan.DetachRx: self._detach_rx,
            plan.AddAddress: self._add_address,
            plan.RemoveAddress: self._remove_address,
            plan.PutPrefix: self._put_prefix,
            plan.RemovePrefix: self._remove_prefix,
            plan.AddRoute: self._add_route,
            plan.RemoveRoute: self._remove_route,
            plan.Listen: self._listen,
            plan.StopListening: self._stop_listening,
            plan.BringUp: self._bring_up,
        }
        return handlers[type(step)](step, inventory)

    # ---- the device -----------------------------------------------------------

    def _create_device(self, step: plan.CreateDevice, _: Inventory) -> list[Undo]:
        device.create(self.ipr, step.name, step.mtu)
        return [lambda: void(device.remove(self.ipr, step.name))]

    def _bring_up(self, step: plan.BringUp, _: Inventory) -> list[Undo]:
        near = device.ifindex_of(self.ipr, step.name)
        far = device.ifindex_of(self.ipr, far_name(step.name))
        if near is None or far is None:
            raise BondError(f"{step.name} vanished while it was being set up")
        mac = next(iter(self.ipr.get_links(near))).get_attr("IFLA_ADDRESS")
        self.plane.open_for_traffic(near, far, bytes.fromhex(mac.replace(":", "")), self.port)
        programs = self.plane.programs
        for ifindex in (near, far):
            tc.ensure_clsact(self.ipr, ifindex)
        for program, prio in PARKED.items():
            tc.attach(self.ipr, far, tc.INGRESS, prio, programs[program], self.name, PARKED_PROTOCOL)
        tc.attach(self.ipr, far, tc.INGRESS, PRIO_PROBE, programs["probe"], self.name)
        tc.attach(self.ipr, far, tc.INGRESS, PRIO_TX, programs["tx"], self.name)
        tc.attach(self.ipr, near, tc.EGRESS, PRIO_TX, programs["tx"], self.name)
        device.bring_up(self.ipr, step.name)
        return []

    def _set_mtu(self, step: plan.SetMtu, _: Inventory) -> list[Undo]:
        device.set_mtu(self.ipr, step.name, step.mtu)
        return [lambda: device.set_mtu(self.ipr, step.name, step.before)]

    def _set_cutting(self, step: plan.SetCutting, _: Inventory) -> list[Undo]:
        device.set_cutting(step.name, step.cut)
        return [lambda: device.set_cutting(step.name, not step.cut)]

    def _add_address(self, step: plan.AddAddress, _: Inventory) -> list[Undo]:
        device.add_address(self.ipr, step.name, step.address)
        return [lambda: device.remove_address(self.ipr, step.name, step.address)]

    def _remove_address(self, step: plan.RemoveAddress, _: Inventory) -> list[Undo]:
        device.remove_address(self.ipr, step.name, step.address)
        return [lambda: device.add_address(self.ipr, step.name, step.address)]

    def _add_route(self, step: plan.AddRoute, _: Inventory) -> list[Undo]:
        device.add_route(self.ipr, step.name, step.prefix)
        return [lambda: device.remove_route(self.ipr, step.name, step.prefix)]

    def _remove_route(self, step: plan.RemoveRoute, _: Inventory) -> list[Undo]:
        device.remove_route(self.ipr, step.name, step.prefix)
        return [lambda: device.add_route(self.ipr, step.name, step.prefix)]

    # ---- peers and paths --------------------------------------------------------

    def _put_bond(self, step: plan.PutBond, _: Inventory) -> list[Undo]:
        bond, policy = step.bond, step.bond.policy
        self.plane.put_bond(
            bond.index,
            POLICY_CODES[policy.base],
            policy.failover_interval_ms,
            policy.down_delay_ms,
            peer_id=int(bond.peer.id, 16),
            packets_per_link=policy.packets_per_link,
            device=needs_single_packets(policy),
            redundant=policy.redundant,
        )
        pair = self.sessions.get(bond.peer.id)
        if pair is not None:
            self.plane.sessions.put(bond.index, pair)
        return [lambda: self.plane.remove_bond(bond.index)] if step.is_new else []

    def _remove_bond(self, step: plan.RemoveBond, _: Inventory) -> list[Undo]:
        self.plane.remove_bond(step.bond.index)
        return [lambda: void(self._put_bond(plan.PutBond(step.bond, True), Inventory({}, (), ())))]

    def _put_path(self, step: plan.PutPath, _: Inventory) -> list[Undo]:
        entry = self._entry(step.bond, step.path)
        index = self.plane.path_index(entry.bond, entry.number)
        if not step.is_new:
            eligible = int(self.plane.paths[index]["flags"]) & abi.PathFlag.ELIGIBLE
            entry = replace(entry, flags=entry.flags | abi.PathFlag(eligible))
        self.plane.put_path(entry)
        return [lambda: self.plane.remove_path(entry, last_of_local=False)] if step.is_new else []

    def _remove_path(self, step: plan.RemovePath, _: Inventory) -> list[Undo]:
        entry = self._entry(step.bond, step.path)
        self.plane.remove_path(entry, last_of_local=step.last_of_local)
        return [lambda: void(self.plane.put_path(entry))]

    def _entry(self, bond: BondSpec, path: PathSpec) -> PathEntry:
        return path_entry(bond, path, self.port)

    def _put_prefix(self, step: plan.PutPrefix, _: Inventory) -> list[Undo]:
        self.plane.put_prefix(step.prefix, step.bond.index)
        return [lambda: self.plane.remove_prefix(step.prefix)]

    def _remove_prefix(self, step: plan.RemovePrefix, _: Inventory) -> list[Undo]:
        self.plane.remove_prefix(step.prefix)
        return [lambda: self.plane.put_prefix(step.prefix, step.bond.index)]

    def _listen(self, step: plan.Listen, _: Inventory) -> list[Undo]:
        self.plane.put_local(step.address)
        return [lambda: self.plane.remove_local(step.address)]

    def _stop_listening(self, step: plan.StopListening, _: Inventory) -> list[Undo]:
        self.plane.remove_local(step.address)
        return [lambda: self.plane.put_local(step.address)]

    # ---- the links' receiving side ------------------------------------------------

    def _attach_rx(self, step: plan.AttachRx, inventory: Inventory) -> list[Undo]:
        link = inventory.link_named(step.ifname)
        if link is None:
            raise BondError(f"{step.ifname} vanished while it was being set up")
        program = self.plane.programs["rx_tc" if link.ethernet else "rx_l3"]
        tc.ensure_clsact(self.ipr, link.ifindex)
        others = {found.bond for found in tc.find(self.ipr, link.ifindex, tc.INGRESS)} - {self.name}
        if others:
            self.notes.append(
                f"{step.ifname} also serves {', '.join(sorted(others))}: give each bond its own node.port"
            )
        prio = tc.free_prio(self.ipr, link.ifindex, tc.INGRESS, self.name)
        tc.attach(self.ipr, link.ifindex, tc.INGRESS, prio, program, self.name)
        # auto: native XDP on hardware, tc on everything virtual, where XDP would
        # cost the sender its super-packets.
        wanted = step.mode is RxMode.XDP or (step.mode is RxMode.AUTO and not link.kind and link.ethernet)
        if wanted and step.ifname not in self.xdp:
            self._try_xdp(link.ifindex, step)
        elif not wanted and step.ifname in self.xdp:
            tc.detach_xdp(self.ipr, link.ifindex)
            self.xdp.discard(step.ifname)
        return [lambda: void(self._detach_rx(plan.DetachRx(step.ifname), inventory))]

    def _try_xdp(self, ifindex: int, step: plan.AttachRx) -> None:
        program = self.plane.programs.get("rx_xdp")
        if program is None:
            self.notes.append(f"{step.ifname}: adopted without an XDP program, using tc until the next `up`")
            return
        try:
            tc.attach_xdp(self.ipr, ifindex, program)
            self.xdp.add(step.ifname)
        except OSError as error:
            if step.mode is RxMode.XDP:
                self.notes.append(f"{step.ifname}: no native XDP ({error.strerror}), using tc")

    def _detach_rx(self, step: plan.DetachRx, inventory: Inventory) -> list[Undo]:
        link = inventory.link_named(step.ifname)
        if link is None:
            return []
        for found in tc.find(self.ipr, link.ifindex, tc.INGRESS):
            if found.bond == self.name:
                tc.detach(self.ipr, found)
        if step.ifname in self.xdp:
            tc.detach_xdp(self.ipr, link.ifindex)
            self.xdp.discard(step.ifname)
        return []


def void(_: object) -> None:
    """An undo returns nothing, whatever it calls."""
