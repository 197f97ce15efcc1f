"""One bond as the controller follows it: health of its paths, what its policy says.

Knows no clock and no kernel: it is told which paths are alive and what the peer
says of them, and returns the assignment to be written.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from mpbond.config.model import BasePolicy, LinkMode
from mpbond.health import Health, State
from mpbond.layout import BondSpec, PathSpec
from mpbond.policies import ASSIGN, Assignment, Memory, PathView, next_in_turn
from mpbond.priorities import EQUAL, Precedence

# One path at a time; what `rotate` is for.
ONE_PATH = frozenset({BasePolicy.ACTIVE_BACKUP, BasePolicy.NONE})


@dataclass(slots=True)
class BondState:
    """`block`: paths reserved per bond, to turn numbers into path indices.
    `peer_spares`: what the peer calls spares, whether or not that counts here, and
    `reported_spares` those of them that it does by a report, not by probes; `avoided`:
    what is to be kept off for its quality. `precedence`: by path index; a number worse
    than the best by more than `tolerance` is a worse class."""

    spec: BondSpec
    block: int
    health: dict[int, Health] = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)
    peer_spares: frozenset[int] = frozenset()
    reported_spares: frozenset[int] = frozenset()
    avoided: frozenset[int] = frozenset()
    precedence: dict[int, Precedence] = field(default_factory=dict)
    tolerance: int = 0
    memory: Memory = field(default_factory=Memory)
    assignment: Assignment = field(default_factory=lambda: Assignment((), 0))
    active: int | None = None
    failovers: int = 0
    best_links: tuple[int, ...] = ()

    def index_of(self, path: PathSpec) -> int:
        return self.spec.index * self.block + path.number

    def path_at(self, index: int) -> PathSpec:
        return next(path for path in self.spec.paths if self.index_of(path) == index)

    def respec(self, spec: BondSpec) -> None:
        """Takes over a new specification. What is known of a path is kept as long as
        it stays; one that takes another's number starts from nothing. Another policy
        goes by what it sees, not by what the one before remembered."""
        before = {self.index_of(path): path.key for path in self.spec.paths}
        if spec.policy != self.spec.policy:
            self.memory = Memory()
        self.spec = spec
        keys = {self.index_of(path): path.key for path in spec.paths}
        stay = {index for index, key in keys.items() if before.get(index) == key}
        known = {index: health for index, health in self.health.items() if index in stay}
        self.health = {index: known.get(index) or Health() for index in keys}
        self.scores = {index: score for index, score in self.scores.items() if index in stay}
        self.avoided &= stay
        self.reported_spares &= stay
        on_one_path = spec.policy.base in ONE_PATH
        self.active = self.active if self.active in stay and on_one_path else None

    def adopt(self, eligible: set[int], active: int | None, failovers: int) -> None:
        """What an earlier controller left: eligible paths stay so without upDelay."""
        for index in eligible & self.health.keys():
            self.health[index].state = State.UP
        on_one_path = self.spec.policy.base in ONE_PATH
        self.active = active if active in self.health and on_one_path else None
        self.failovers = failovers

    def observe(self, index: int, alive: bool, now_ns: int) -> bool:
        """True if the path became, or ceased to be, eligible. A path that carried
        traffic and died is a failover."""
        health, policy = self.health[index], self.spec.policy
        changed = health.observe(
            alive,
            now_ns,
            up_delay_ns=policy.up_delay_ms * 1_000_000,
            failover_ns=policy.failover_interval_ms * 1_000_000,
        )
        if changed and not health.eligible and self._carries(index):
            self.failovers += 1
        return changed

    def relieve(self, now_ns: int) -> list[int]:
        """Where no path is eligible, those that are only held for flapping are let go:
        better a path that may fail than none. Which ones."""
        own = [self.index_of(path) for path in self.spec.paths if not path.standby]
        if any(self.health[index].eligible for index in own):
            return []
        return [index for index in own if self.health[index].release(now_ns)]

    def _carries(self, index: int) -> bool:
        return index == self.active or index in self.assignment.shares

    def _agreed_modes(self) -> dict[int, LinkMode]:
        """A path is a spare if either end says so, as a spare is used by neither while
        another path can be. Where that would leave nothing but spares our own word
        stands alone; broadcast has no spares."""
        own = {self.index_of(path): path.mode for path in self.spec.paths if not path.standby}
        if self.spec.policy.base is BasePolicy.BROADCAST:
            return own
        both = {index: LinkMode.SPARE if index in self.peer_spares else mode for index, mode in own.items()}
        return both if LinkMode.PRIMARY in both.values() else own

    def _modes(self) -> dict[int, LinkMode]:
        """With the paths that a nearer one makes spares."""
        agreed = self._agreed_modes()
        farther = self._farther(agreed)
        return {index: LinkMode.SPARE if index in farther else mode for index, mode in agreed.items()}

    def farther(self) -> set[int]:
        """Paths that are spares here for the sake of a nearer one."""
        agreed = self._agreed_modes()
        return {index for index in self._farther(agreed) if agreed[index] is LinkMode.PRIMARY}

    def _farther(self, modes: dict[int, LinkMode]) -> set[int]:
        """Paths of a worse class than another that is no spare and could carry now. None
        where the policy lists its links, which are the user's choice; broadcast has no
        spares."""
        if self.spec.policy.links or self.spec.policy.base is BasePolicy.BROADCAST:
            return set()
        numbers = {index: self.precedence_of(index).number for index in modes}
        here = [
            index for index, mode in modes.items() if mode is LinkMode.PRIMARY and self.health[index].eligible
        ]
        best = min((numbers[index] for index in here), default=None)
        return set() if best is None else {index for index in modes if numbers[index] > best + self.tolerance}

    def precedence_of(self, index: int) -> Precedence:
        return self.precedence.get(index, EQUAL)

    def demoted(self) -> set[int]:
        """Paths that are spares here though we do not call them so: for the peer's sake, or
        for that of a nearer path."""
        modes = self._modes()
        return {
            self.index_of(path)
            for path in self.spec.paths
            if path.mode is LinkMode.PRIMARY and modes.get(self.index_of(path)) is LinkMode.SPARE
        }

    def views(self) -> list[PathView]:
        """What the policy chooses among."""
        modes = self._modes()
        return [
            PathView(
                index=self.index_of(path),
                ifname=path.key.ifname,
                version=path.key.remote.version,
                mode=modes[self.index_of(path)],
                ipv_pref=path.ipv_pref,
                eligible=self.health[self.index_of(path)].eligible,
                score=self.scores.get(self.index_of(path), 1.0),
                avoided=self.index_of(path) in self.avoided,
                precedence=self.precedence_of(self.index_of(path)).number,
            )
            for path in self.spec.paths
            if not path.standby
        ]

    def rotate(self) -> int | None:
        """Makes the next path the active one, to be assigned. None where there is no
        other."""
        following = None if self.active is None else next_in_turn(self.views(), self.active)
        if following is None:
            return None
        self.active = following.index
        self.memory.rotate()
        return following.index

    @property
    def goes_by_score(self) -> bool:
        """Does the assignment depend on the paths' scores? Under balance-aware the slots
        do, which are not assigned but balanced."""
        policy = self.spec.policy
        return policy.base in ONE_PATH | {BasePolicy.BROADCAST} or bool(policy.redundant)

    @property
    def is_undecided(self) -> bool:
        """Would the policy, if nothing changes, decide otherwise in a later period?"""
        return self.memory.challenger is not None

    def assign(self, *, period: bool = True) -> Assignment:
        """What the policy says now; also remembered. Only a call that ends a `period`
        counts as one to the policies that wait for several."""
        policy, before = self.spec.policy, replace(self.memory)
        self.assignment = ASSIGN[policy.base](policy, self.views(), self.active, self.memory)
        if not period and self.memory.challenger is not None:
            self.memory.challenger, self.memory.periods = before.challenger, before.periods
        if self.assignment.active is not None:
            self.active = self.assignment.active
        return self.assignment
