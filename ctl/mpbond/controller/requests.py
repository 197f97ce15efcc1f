"""What a user asks of a running controller: another path, another policy.

Called from the control socket's thread, and `tick` from the loop's; reads no clock.
A change of policy goes in steps, as no packet may be lost by it: the new policy's
paths are made beside those there are, and probed; once one of them works, who
carries what is written, then the policy; what only the old policy wanted is told to
the peer as spares, and removed when it sends nothing over them any more.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from typing import Any

from mpbond.config.model import BasePolicy, Config, Policy
from mpbond.config.policy import standard
from mpbond.controller.bond import ONE_PATH, BondState
from mpbond.controller.controller import Controller
from mpbond.controller.reading import last_data_ns
from mpbond.errors import BondError, UsageError
from mpbond.events import Kind
from mpbond.layout import PathKey
from mpbond.supported import unsupported_policy

# A path that goes is removed when the peer was told (its controller looks twice a
# second at least) and has sent no data over it for so long; or at the last, where it
# does not heed what it is told.
QUIET_NS = 1_000_000_000
MAX_LEAVE_NS = 60_000_000_000


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """A change on its way. `paths`: what the new policy would use. `carried`: some path
    was eligible when it began, so one of these has to be before the old one is left."""

    peer_id: str
    before: Policy
    after: Policy
    paths: frozenset[PathKey]
    carried: bool


class Requests:
    """Of one controller. `_leaving_ns`: by peer, since when there is something that
    only earlier policies wanted."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        self._leaving_ns: dict[str, int] = {}

    # ---- rotate -----------------------------------------------------------------

    def rotate(self, peer: str, now_ns: int) -> dict[str, Any]:
        """Moves an active-backup bond to its next path. What it was, what it is."""
        with self._controller.lock:
            state = self._controller.state_of(peer)
            name, policy = state.spec.peer.id, state.spec.policy
            if policy.base not in ONE_PATH:
                raise UsageError(
                    f"peer {name} is under {policy.name}: only active-backup has an active path to rotate"
                )
            before = state.active
            if before is None or state.rotate() is None:
                raise BondError(f"peer {name} has only one eligible path: nothing to rotate to")
            self._controller.assign(state, now_ns)
            after = _told(state, state.active)
            place = (after["idx"], after["ifname"])
            self._controller.history.add(now_ns, Kind.ACTIVE, name, path=place, cause="rotated to")
            return {"peer": name, "from": _told(state, before), "to": after}

    # ---- another policy -----------------------------------------------------------

    def begin(self, peer: str, name: str, now_ns: int) -> PolicyChange:
        """Makes the paths of the policy called `name` beside the present ones. Raises,
        with nothing changed, where there is no such policy or it would have no path."""
        controller = self._controller
        with controller.lock:
            state = controller.state_of(peer)
            policy = _policy_named(controller.config, name)
            peer_id = state.spec.peer.id
            change = PolicyChange(
                peer_id, state.spec.policy, policy, self._paths_under(state, policy), _any_eligible(state)
            )
            self._keep(peer_id, policy)
            try:
                controller.reconcile(now_ns)
            except BaseException:
                self._drop(peer_id, policy)
                raise
            return change

    def finish(self, change: PolicyChange, now_ns: int) -> bool:
        """Puts the policy in force if a path of its own works by now. Whether it did."""
        controller = self._controller
        with controller.lock:
            if change.carried and not self._works(change):
                return False
            self._keep(change.peer_id, change.before)
            controller.switch(_with_policy(controller.config, change.peer_id, change.after), now_ns)
            self._leaving_ns[change.peer_id] = now_ns
            controller.probe_at_once(controller.state_of(change.peer_id).spec.index)
            cause = f"{change.after.name} (was {change.before.name})"
            controller.history.add(now_ns, Kind.POLICY, change.peer_id, cause=cause)
            return True

    def abandon(self, change: PolicyChange, now_ns: int) -> None:
        with self._controller.lock:
            self._drop(change.peer_id, change.after)
            self._controller.reconcile(now_ns)

    def tick(self, now_ns: int) -> None:
        """Removes what nobody uses any more."""
        with self._controller.lock:
            due = [peer_id for peer_id in self._leaving_ns if self._has_left(peer_id, now_ns)]
            if not due:
                return
            for peer_id in due:
                self._leaving_ns.pop(peer_id)
                self._controller.beside.pop(peer_id, None)
            try:
                self._controller.reconcile(now_ns)
            except BondError as error:
                self._controller.say(f"could not remove what the policy before has left: {error}")

    def _has_left(self, peer_id: str, now_ns: int) -> bool:
        """Does the peer keep off all that only earlier policies wanted?"""
        try:
            state = self._controller.state_of(peer_id)
        except UsageError:
            return True  # the peer itself has gone
        standing_by = [state.index_of(path) for path in state.spec.paths if path.standby]
        plane = self._controller.plane
        since_ns = self._leaving_ns[peer_id]
        heard_ns = max((last_data_ns(plane, index) for index in standing_by), default=0)
        return now_ns - max(since_ns, heard_ns) >= QUIET_NS or now_ns - since_ns >= MAX_LEAVE_NS

    def _keep(self, peer_id: str, policy: Policy) -> None:
        """From here on the policy's paths are there, whether or not it is in force."""
        others = self._controller.beside.get(peer_id, ())
        if policy not in others:
            self._controller.beside[peer_id] = (*others, policy)

    def _drop(self, peer_id: str, policy: Policy) -> None:
        others = self._controller.beside.get(peer_id, ())
        self._controller.beside[peer_id] = tuple(other for other in others if other != policy)

    def _paths_under(self, state: BondState, policy: Policy) -> frozenset[PathKey]:
        """Of the peer, as the host is now. Refuses a policy without any."""
        peer_id = state.spec.peer.id
        wanted = self._controller.computed(_with_policy(self._controller.config, peer_id, policy))
        bond = next(bond for bond in wanted.bonds if bond.peer.id == peer_id)
        paths = frozenset(path.key for path in bond.paths if not path.standby)
        if not paths:
            links = ", ".join(rule.ifname for rule in policy.links) or "any"
            raise UsageError(
                f"policy {policy.name} would leave peer {peer_id} without a path: "
                f"none of its links ({links}) makes one"
            )
        return paths

    def _works(self, change: PolicyChange) -> bool:
        state = self._controller.state_of(change.peer_id)
        return any(
            state.health[state.index_of(path)].eligible
            for path in state.spec.paths
            if path.key in change.paths
        )


def _any_eligible(state: BondState) -> bool:
    return any(health.eligible for health in state.health.values())


def _told(state: BondState, index: int | None) -> dict[str, Any]:
    path = next(path for path in state.spec.paths if state.index_of(path) == index)
    return {
        "idx": path.number,
        "ifname": path.key.ifname,
        "address": str(path.key.remote),
        "port": path.key.port,
    }


def _policy_named(config: Config, name: str) -> Policy:
    """One of the file's policies or a standard one, if this version does all of it."""
    known = {base.value: standard(base) for base in BasePolicy}
    known |= {policy.name: policy for policy in config.policies}
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        advice = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}"
        raise UsageError(f"no policy {name!r} in {config.file}; {advice}")
    if not config.settings.multipath_enabled and known[name].base not in ONE_PATH:
        raise UsageError(f"policy {name} uses several paths, and multipathEnabled is false in {config.file}")
    for what, instead in unsupported_policy(known[name]):
        raise UsageError(f"{what}: {instead}")
    return known[name]


def _with_policy(config: Config, peer_id: str, policy: Policy) -> Config:
    peers = (replace(peer, policy=policy) if peer.id == peer_id else peer for peer in config.peers)
    return replace(config, peers=tuple(peers))
