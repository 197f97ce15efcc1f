"""One bond as the controller follows it: health of its paths, what its policy says.

Knows no clock and no kernel: it is told which paths are alive, and returns the
assignment to be written.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from mpbond.health import Health, State
from mpbond.layout import BondSpec, PathSpec
from mpbond.policies import ASSIGN, Assignment, Memory, PathView


@dataclass(slots=True)
class BondState:
    """`block`: paths reserved per bond, to turn numbers into path indices."""

    spec: BondSpec
    block: int
    health: dict[int, Health] = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)
    memory: Memory = field(default_factory=Memory)
    assignment: Assignment = field(default_factory=lambda: Assignment((), 0))
    active: int | None = None
    failovers: int = 0

    def index_of(self, path: PathSpec) -> int:
        return self.spec.index * self.block + path.number

    def respec(self, spec: BondSpec) -> None:
        """Takes over a new specification. What is known of a path is kept as long as
        it stays; one that takes another's number starts from nothing."""
        before = {self.index_of(path): path.key for path in self.spec.paths}
        self.spec = spec
        keys = {self.index_of(path): path.key for path in spec.paths}
        stay = {index for index, key in keys.items() if before.get(index) == key}
        known = {index: health for index, health in self.health.items() if index in stay}
        self.health = {index: known.get(index) or Health() for index in keys}
        self.scores = {index: score for index, score in self.scores.items() if index in stay}
        self.active = self.active if self.active in stay else None

    def adopt(self, eligible: set[int], active: int | None, failovers: int) -> None:
        """What an earlier controller left: eligible paths stay so without upDelay."""
        for index in eligible & self.health.keys():
            self.health[index].state = State.UP
        self.active = active if active in self.health else None
        self.failovers = failovers

    def observe(self, index: int, alive: bool, now_ns: int) -> bool:
        """True if the path became, or ceased to be, eligible. A path that carried
        traffic and died is a failover."""
        health = self.health[index]
        changed = health.observe(alive, self.spec.policy.up_delay_ms * 1_000_000, now_ns)
        if changed and not health.eligible and self._carries(index):
            self.failovers += 1
        return changed

    def _carries(self, index: int) -> bool:
        return index == self.active or index in self.assignment.shares

    def waiting(self) -> bool:
        """Does any path serve its upDelay? Then time alone may change things."""
        return any(health.state is State.WAITING for health in self.health.values())

    def views(self) -> list[PathView]:
        return [
            PathView(
                index=self.index_of(path),
                ifname=path.key.ifname,
                version=path.key.remote.version,
                mode=path.mode,
                ipv_pref=path.ipv_pref,
                eligible=self.health[self.index_of(path)].eligible,
                score=self.scores.get(self.index_of(path), 1.0),
                capacity_mbit=path.capacity_mbit,
            )
            for path in self.spec.paths
        ]

    def assign(self, *, period: bool = True) -> Assignment:
        """What the policy says now; also remembered. Only a call that ends a `period`
        counts as one to the policies that wait for several."""
        policy = self.spec.policy
        memory = self.memory if period else replace(self.memory)
        self.assignment = ASSIGN[policy.base](policy, self.views(), self.active, memory)
        if memory.challenger is None:
            self.memory = memory
        if self.assignment.active is not None:
            self.active = self.assignment.active
        return self.assignment
