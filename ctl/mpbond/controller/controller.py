"""The controller: keeps the kernel's maps as configuration, host and paths want them.

Three threads call it, one lock orders them: the loop (tick), the netlink watcher
(a link went, something changed), the control socket (snapshot). It reads a clock
nowhere; `now_ns` comes in.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from pyroute2 import IPRoute

from mpbond import abi, layout, plan
from mpbond.config.model import BasePolicy, Config, Policy
from mpbond.controller import adopt, reading
from mpbond.controller.apply import Applier
from mpbond.controller.balancing import Balancing
from mpbond.controller.bond import BondState
from mpbond.controller.connecting import Connecting
from mpbond.controller.limiting import Limiting
from mpbond.controller.measuring import Measuring, write_head_starts
from mpbond.controller.prober import Prober
from mpbond.controller.roaming import Roaming
from mpbond.controller.scoring import Scoring
from mpbond.controller.trust import Trust
from mpbond.errors import UsageError
from mpbond.events import History, Kind
from mpbond.inventory import Inventory
from mpbond.kernel import ethtool
from mpbond.kernel.dataplane import Dataplane
from mpbond.kernel.links import read_inventory
from mpbond.layout import Layout, Placement
from mpbond.priorities import precedence
from mpbond.redundant import best_links
from mpbond.sessions import SessionPair
from mpbond.snapshot import Snapshot
from mpbond.weights import fill_slots

Say = Callable[[str], None]

# Between two periods of the policies that count them; a few control periods.
POLICY_PERIOD_NS = 500_000_000


class Controller:
    """Owns one bond interface. `installed` is what the kernel has already. `beside`:
    by peer, policies that come or go, whose paths are kept as well."""

    def __init__(
        self,
        config: Config,
        plane: Dataplane,
        ipr: IPRoute,
        sessions: dict[str, SessionPair],
        scoring: Scoring,
        *,
        installed: Layout | None,
        say: Say,
        trust: Trust | None = None,
    ) -> None:
        self.config = config
        self.plane = plane
        self.lock = threading.RLock()
        self.layout: Layout | None = installed
        self.say = say
        self._ipr = ipr
        self.trust = trust
        self._applier = Applier(ipr, plane, config.interface.name, config.node.port, sessions)
        self._prober = Prober(plane)
        self._measuring = Measuring()
        self.scoring = scoring
        self.history = History(say)
        self.connecting = Connecting(plane, self.history)
        self.limiting = Limiting(plane, config.interface.name)
        self._roaming = Roaming(plane, self.history, installed)
        self._inventory = Inventory({}, (), ())
        self._balancing = Balancing(plane, self.history, ethtool.speed_mbit)
        # Bonds where a policy may be about to move: scores changed, or one is ahead.
        self._undecided: set[int] = set()
        self._period_due_ns = 0
        self._bonds: dict[int, BondState] = {}
        self.beside: dict[str, tuple[Policy, ...]] = {}
        self._configured = {peer.id: peer.policy.name for peer in config.peers}
        self._paths = np.zeros(0, np.int64)
        self._alive = np.zeros(0, bool)
        self._restless = np.zeros(0, bool)
        self._peer_spares = np.zeros(0, bool)
        self.adopted = installed is not None
        if installed is not None:
            self._applier.xdp |= adopt.xdp_links(plane, ipr, installed, read_inventory(ipr))
        self._started_ns = 0
        if trust is not None:
            trust.control.serve(
                self.lock, self._measuring, self.history, hear=self.hear_report, wake=trust.wake
            )

    # ---- what the host is like ------------------------------------------------

    def reconcile(self, now_ns: int) -> None:
        """Reads the host, and changes whatever its bonds want changed."""
        inventory = read_inventory(self._ipr)
        with self.lock:
            self._inventory = inventory
            self._arrange(now_ns)

    def _arrange(self, now_ns: int) -> None:
        """For the host as it was read last."""
        after = self.computed(self.config, inventory=self._inventory)
        steps = plan.plan(after, self.layout)
        self._applier.run(steps, self._inventory, self.say)
        self.layout = after
        self._follow(after, self._inventory, now_ns)
        self._evaluate(now_ns, everything=bool(steps))

    def computed(self, config: Config, *, inventory: Inventory | None = None) -> Layout:
        """What `config`, and what is kept beside it, come to on this host."""
        inventory = inventory or read_inventory(self._ipr)
        bonds = self.layout.bonds if self.layout else ()
        placed = {bond.peer.id: Placement(bond.index, bond.paths) for bond in bonds}
        return layout.compute(
            config,
            inventory,
            block=self.plane.block,
            placed=placed,
            beside=self.beside,
            learnt=self._roaming.learnt.all(),
        )

    def switch(self, config: Config, now_ns: int) -> None:
        """To a configuration with the same paths: who carries what is written first, for
        either policy can go by it, then the policy. On an error all is as before."""
        before, old = self.layout, self.config
        inventory = read_inventory(self._ipr)
        after = self.computed(config, inventory=inventory)
        try:
            self.config = config
            self._take(after, inventory, now_ns)
            self._applier.run(plan.plan(after, before), inventory, self.say)
        except BaseException:
            self.config = old
            if before is not None:
                self._applier.run(plan.plan(before, after), inventory, self.say)
                self._take(before, inventory, now_ns)
            raise

    def _take(self, after: Layout, inventory: Inventory, now_ns: int) -> None:
        self.layout = after
        self._follow(after, inventory, now_ns)
        self._evaluate(now_ns, everything=True)

    def _follow(self, after: Layout, inventory: Inventory, now_ns: int) -> None:
        """Bond states, prober, measurements and arrays for the new layout."""
        adopting = self.adopted and not self._bonds
        states: dict[int, BondState] = {}
        for spec in after.bonds:
            state = self._bonds.get(spec.index) or BondState(spec, self.plane.block)
            state.respec(spec)
            states[spec.index] = state
            if adopting:
                self._adopt_state(state)
        self._bonds = states
        self._paths = np.array(sorted(index for state in states.values() for index in state.health), np.int64)
        self._alive = np.zeros(len(self._paths), bool)
        self._peer_spares = np.zeros(len(self._paths), bool)
        self._restless = np.ones(len(self._paths), bool)  # so that all are looked at once
        self._prober.set_paths(
            [int(index) for index in self._paths],
            {index: state.spec.policy.failover_interval_ms for index, state in states.items()},
        )
        self._measuring.follow(
            {
                state.index_of(path): ((state.spec.peer.id, path.key), state.spec.policy.link_quality)
                for state in states.values()
                for path in state.spec.paths
            }
        )
        self._balancing.follow(states)
        self.scoring.follow(states)
        self.connecting.follow(states)
        self._roaming.follow(after, inventory)
        self._undecided = self._place(inventory) | self._measure(now_ns)
        if self.trust is not None:
            self.trust.control.follow(states.values())
            self.trust.follow(after, now_ns)

    def _place(self, inventory: Inventory) -> set[int]:
        """What goes by where paths lead; the bonds for which that is news."""
        ranked = self._rank(inventory)
        self.limiting.follow(self._bonds, limit_in_lan=self.config.settings.limit_bandwidth_in_lan)
        for bond in ranked:
            self._write_flags(self._bonds[bond].health)
        return ranked

    def _rank(self, inventory: Inventory) -> set[int]:
        """Near paths before far ones; the bonds for which that is news."""
        settings = self.config.settings
        news: set[int] = set()
        for bond, state in self._bonds.items():
            paths = {state.index_of(path): path for path in state.spec.paths}
            led = {index: self._roaming.as_led(index, path) for index, path in paths.items()}
            found = {index: precedence(path, settings, inventory) for index, path in led.items()}
            if (found, settings.priority_upgrade_threshold) != (state.precedence, state.tolerance):
                state.precedence, state.tolerance = found, settings.priority_upgrade_threshold
                news.add(bond)
        return news

    def _adopt_state(self, state: BondState) -> None:
        """Goes on where the earlier controller stopped. A path that the kernel left
        meanwhile by itself counts as a failover."""
        bond = self.plane.bonds[state.spec.index]
        live = self.plane.bonds_live[state.spec.index]
        flags = self.plane.paths["flags"]
        eligible = {index for index in state.health if int(flags[index]) & abi.PathFlag.ELIGIBLE}
        first = int(bond["order"][0])
        used = int(live["active_path"])
        moved = used not in (abi.NO_PATH, first) and bond["policy"] == abi.PolicyCode.ACTIVE_BACKUP
        state.adopt(eligible, first, int(live["failovers"]) + int(moved))

    def link_changed(self, ifindex: int, up: bool, now_ns: int) -> None:
        """A link lost or got its carrier: said to the kernel at once."""
        with self.lock:
            ours = [int(index) for index in self._paths if int(self.plane.paths["ifindex"][index]) == ifindex]
            for index in ours:
                self.plane.set_link_up(index, up)
            if ours:
                self._evaluate(now_ns)
                self._report({index // self.plane.block for index in ours})

    # ---- the loop's calls -------------------------------------------------------

    def tick(self, now_ns: int) -> None:
        """Probes what is due and acts on what the kernel has found out."""
        with self.lock:
            self._prober.tick(now_ns)
            self._roam(now_ns)
            self._evaluate(now_ns)

    def _roam(self, now_ns: int) -> None:
        """Takes over what the kernel has learnt of where the peers are."""
        moved, others = self._roaming.look(now_ns)
        if others:
            self._arrange(now_ns)
        elif moved and self.layout is not None:
            self._undecided |= self._place(self._inventory)
            if self.trust is not None:
                self.trust.follow(self.layout, now_ns)

    def probe_at_once(self, bond: int) -> None:
        """The peer is to hear at once what has changed here."""
        with self.lock:
            self._prober.probe_at_once(bond)

    def next_due_ns(self, otherwise_ns: int) -> int:
        with self.lock:
            return self._prober.next_due_ns(otherwise_ns)

    def slow_tick(self, now_ns: int) -> None:
        """A control period: measurements, scores, and policies that go by quality."""
        with self.lock:
            self._undecided |= self._measure(now_ns)
            self.scoring.update(now_ns, self._measuring.latest, self._alive)
            self.connecting.tick(now_ns)
            if self.trust is not None:
                self.limiting.hear(self.trust.receive_rates())
            is_period = now_ns >= self._period_due_ns
            for bond in self._undecided:
                self.assign(self._bonds[bond], now_ns, period=is_period)
            self._balancing.write(now_ns)
            if is_period:
                self._period_due_ns = now_ns + POLICY_PERIOD_NS
                self._undecided = {bond for bond in self._undecided if self._bonds[bond].is_undecided}

    def _measure(self, now_ns: int) -> set[int]:
        """Takes the measurements in; the bonds whose scores, or whose avoided paths, have
        changed."""
        estimates = self._measuring.update(self.plane, now_ns)
        write_head_starts(self.plane, self._paths, estimates)
        news = self._measuring.news()
        for path, score in news:
            self._state_at(path).scores[path] = score
        changed = {path // self.plane.block for path, _ in news}
        by_score = {bond for bond in changed if self._bonds[bond].goes_by_score}
        return by_score | self._balancing.update(now_ns, estimates)

    def _evaluate(self, now_ns: int, *, everything: bool = False) -> None:
        """Health from proofs. Costs a few array operations while nothing changes."""
        alive = reading.alive_mask(self.plane, self._paths)
        spares = reading.peer_spare_mask(self.plane, self._paths)
        news = (alive != self._alive) | (spares != self._peer_spares)
        look = news | self._restless | everything
        if not everything and not look.any():
            return
        self._alive, self._peer_spares = alive, spares
        indices = [int(index) for index in self._paths[look]]
        bonds = {index // self.plane.block for index in indices}
        changed = self._observe(dict(zip(indices, alive[look].tolist(), strict=True)), now_ns)
        touched = {index // self.plane.block for index in changed} | self._hear_spares(bonds)
        # Who is a spare may hang on the bond's other paths.
        self._write_flags({*indices, *(index for bond in touched for index in self._bonds[bond].health)})
        self._restless[look] = [self._state_at(index).health[index].restless for index in indices]
        for bond in self._bonds if everything else touched:
            self.assign(self._bonds[bond], now_ns)
        self._balancing.write(now_ns)
        self._report({index // self.plane.block for index in self._paths[news].tolist()})

    def _report(self, bonds: set[int]) -> None:
        """The peers of these bonds may have something to hear, over another path maybe."""
        if self.trust is not None:
            self.trust.control.look_at(bonds)

    def _observe(self, alive: dict[int, bool], now_ns: int) -> list[int]:
        """Tells the bonds which of their paths are alive; whose eligibility that changes."""
        changed: list[int] = []
        for index, is_alive in alive.items():
            state = self._state_at(index)
            failovers = state.failovers
            if state.observe(index, is_alive, now_ns):
                changed.append(index)
                self._tell_health(state, index, now_ns, failed=state.failovers > failovers)
        for bond in {index // self.plane.block for index in alive}:
            relieved = self._bonds[bond].relieve(now_ns)
            changed += relieved
            for index in relieved:
                self._tell_health(self._bonds[bond], index, now_ns, failed=False)
        return changed

    def _state_at(self, index: int) -> BondState:
        return self._bonds[index // self.plane.block]

    def _hear_spares(self, bonds: set[int]) -> set[int]:
        """Tells the bonds what their peers call spares; which of them did not know."""
        news: set[int] = set()
        for bond in bonds:
            mine = self._peer_spares & (self._paths // self.plane.block == bond)
            heard = frozenset(int(index) for index in self._paths[mine]) | self._bonds[bond].reported_spares
            if heard != self._bonds[bond].peer_spares:
                self._bonds[bond].peer_spares = heard
                news.add(bond)
        return news

    def hear_report(self, bond: int, spares: frozenset[int], now_ns: int) -> None:
        """What the peer's report calls spares, whether its probes have said so or not."""
        state = self._bonds[bond]
        state.reported_spares = spares & state.health.keys()
        if self._hear_spares({bond}):
            self._write_flags(state.health)
            self.assign(state, now_ns)
            self._balancing.write(now_ns)

    def _write_flags(self, indices: Iterable[int]) -> None:
        for index in indices:
            state = self._state_at(index)
            self.plane.set_path_flag(index, abi.PathFlag.ELIGIBLE, state.health[index].eligible)
            self.plane.set_path_flag(index, abi.PathFlag.PEER_SPARE, index in state.demoted())
            self.plane.set_path_flag(index, abi.PathFlag.EXEMPT, self.limiting.is_exempt(state, index))

    def _tell_health(self, state: BondState, index: int, now_ns: int, *, failed: bool) -> None:
        """`failed`: it carried traffic and does not any more."""
        path = state.path_at(index)
        place, peer = (path.number, path.key.ifname), state.spec.peer.id
        if state.health[index].eligible:
            self.history.add(now_ns, Kind.UP, peer, path=place, cause=f"to {path.key.remote}")
            return
        cause = f"no proof of life for {state.spec.policy.failover_interval_ms} ms"
        if not int(self.plane.paths["flags"][index]) & abi.PathFlag.LINK_UP:
            cause = "its link is down"
        self.history.add(now_ns, Kind.DOWN, peer, path=place, cause=cause)
        if failed:
            self.history.add(now_ns, Kind.FAILOVER, peer, path=place, failovers=state.failovers)

    def assign(
        self, state: BondState, now_ns: int, *, period: bool = False, cause: str = "by its policy"
    ) -> None:
        """Writes what the policy says, where it says something new; `cause`: why it might.
        Slots of balance-aware bonds are the balancing's to write."""
        before, before_active = state.assignment, state.active
        after = state.assign(period=period)
        bond = state.spec.index
        self.plane.bonds_live[bond]["failovers"] = state.failovers
        self.connecting.assigned(state, now_ns)
        if after != before:
            self.plane.set_order(bond, after.order, after.preferred)
            self.limiting.assigned(state)
        if state.spec.policy.redundant:
            self._write_best_links(state)
        if state.spec.policy.base is BasePolicy.BALANCE_AWARE:
            self._balancing.assigned(state)
        elif after.shares and after.shares != before.shares:
            current = self.plane.slots(bond)
            table = fill_slots(current, after.shares)
            if table != current:
                self.plane.set_slots(bond, table)
        if after != before or state.active != before_active:
            self._report({bond})
        if state.active not in (before_active, None):
            self._tell_active(state, before_active, now_ns, cause)

    def _tell_active(self, state: BondState, before: int | None, now_ns: int, cause: str) -> None:
        """Says which path is active instead of `before`."""
        assert state.active is not None
        path = state.path_at(state.active)
        if before is None:
            cause = ""
        elif not state.health[before].eligible:
            cause = f"path {before % self.plane.block} has failed"
        place = (path.number, path.key.ifname)
        self.history.add(now_ns, Kind.ACTIVE, state.spec.peer.id, path=place, cause=cause)

    def _write_best_links(self, state: BondState) -> None:
        """Over which links `redundant` traffic goes, where that has changed."""
        best = best_links(state.views())
        if best != state.best_links:
            self.plane.set_redundant_paths(state.spec.index, best)
            state.best_links = best

    # ---- what is asked ------------------------------------------------------------

    def state_of(self, peer: str) -> BondState:
        """By the peer's id, else by its name."""
        for state in self._bonds.values():
            if peer in (state.spec.peer.id, state.spec.peer.name):
                return state
        known = ", ".join(state.spec.peer.name or state.spec.peer.id for state in self._bonds.values())
        raise UsageError(f"no peer {peer!r} here; known: {known or 'none'}")

    def minutes(self) -> dict[str, str]:
        """How all paths have behaved, to be kept."""
        with self.lock:
            return self.scoring.text()

    def events(self, since: int, peer: str | None, wall_ns: int) -> list[dict[str, Any]]:
        """What has happened after event number `since`, to all peers or one."""
        with self.lock:
            of = None if peer is None else self.state_of(peer).spec.peer.id
            return [event.as_json(wall_ns) for event in self.history.since(since, of)]

    # ---- readings -----------------------------------------------------------------

    def snapshot(self, now_ns: int) -> Snapshot:
        with self.lock:
            if not self._started_ns:
                self._started_ns = now_ns
            flows = self.plane.flow_counts(reading.FLOW_SEEN_S, now_ns)
            rates = self.limiting.shown()
            bonds = tuple(
                reading.bond_snapshot(
                    self.plane,
                    state,
                    flows,
                    self._applier.xdp,
                    self._measuring,
                    self._balancing,
                    self.scoring,
                    self.connecting,
                    now_ns,
                    configured=self._configured[state.spec.peer.id],
                    keys=self.trust.state(state.spec.peer.id, now_ns) if self.trust else None,
                    told=self.trust.control.told(state.spec.peer.id, now_ns) if self.trust else None,
                    rates=rates.get(state.spec.index),
                )
                for state in self._bonds.values()
            )
            return Snapshot(
                interface=self.config.interface.name,
                node=self.config.node.id,
                pid=os.getpid(),
                adopted=self.adopted,
                uptime_s=round((now_ns - self._started_ns) / 1e9, 1),
                tickLateMs=round(self._prober.late_ns / 1e6, 3),
                bonds=bonds,
                reasons=self.plane.reason_counts()
                | (self.trust.counts() if self.trust else {})
                | self.connecting.counts(),
                notes=tuple(self._applier.notes),
            )
