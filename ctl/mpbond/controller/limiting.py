"""Rates of peers, as the file and the peers want them, put into the kernel."""

from __future__ import annotations

from collections.abc import Mapping

from mpbond.config.model import BasePolicy
from mpbond.controller.bond import BondState
from mpbond.kernel.dataplane import Dataplane
from mpbond.kernel.shaper import Shaper, Waiting, class_of
from mpbond.limits import Rates, rates, recv_burst_ns, recv_ns_per_mib
from mpbond.priorities import Reach
from mpbond.snapshot import RateSnapshot

# Policies that count packets, so that whoever waits must be known before a path is chosen.
_PATH_UNKNOWN = frozenset({BasePolicy.BALANCE_RR, BasePolicy.BROADCAST})


class Limiting:
    """`follow` the bonds; `hear` what peers want to receive; `assigned` after each change
    of who carries."""

    def __init__(self, plane: Dataplane, name: str) -> None:
        self._plane = plane
        self._shaper = Shaper(name)
        self._bonds: Mapping[int, BondState] = {}
        self._in_lan = False
        self._heard: dict[str, int] = {}
        self._rates: dict[int, Rates] = {}

    def follow(self, bonds: Mapping[int, BondState], *, limit_in_lan: bool) -> None:
        self._bonds, self._in_lan = bonds, limit_in_lan
        self._write()

    def hear(self, heard: Mapping[str, int]) -> None:
        """By peer, KiB/s, 0 for none: of those that have said it."""
        if dict(heard) != self._heard:
            self._heard = dict(heard)
            self._write()

    def of(self, bond: int) -> Rates:
        return self._rates.get(bond, Rates())

    def shown(self) -> dict[int, RateSnapshot]:
        """By bond, of those that have a rate."""
        waiting = self._shaper.waiting()
        return {
            bond: _shown(found, waiting.get(bond, Waiting(0, 0)))
            for bond, found in self._rates.items()
            if found.send_kbps or found.recv_kbps
        }

    def is_exempt(self, state: BondState, index: int) -> bool:
        """No rate holds on a path to a local network, unless the file says so."""
        return not self._in_lan and state.precedence_of(index).reach is Reach.LAN

    def assigned(self, state: BondState) -> None:
        """Under policies that count packets all of them wait, or none: none where only
        exempt paths carry."""
        bond = state.spec.index
        limited = bool(self.of(bond).send_kbps)
        if state.spec.policy.base in _PATH_UNKNOWN:
            carrying = state.assignment.order[: state.assignment.preferred] or state.assignment.order
            limited &= not all(self.is_exempt(state, index) for index in carrying)
        self._plane.limits["send_class"][bond] = class_of(bond) if limited else 0

    def _write(self) -> None:
        """Classes first, then who goes by them."""
        self._rates = {
            bond: rates(peer.max_send_kbps, peer.max_recv_kbps, self._heard.get(peer.id))
            for bond, peer in ((bond, state.spec.peer) for bond, state in self._bonds.items())
        }
        self._shaper.set({bond: found.send_kbps for bond, found in self._rates.items() if found.send_kbps})
        for bond, found in self._rates.items():
            entry = self._plane.limits[bond]
            entry["recv_burst_ns"] = recv_burst_ns(found)
            entry["recv_ns_per_mib"] = recv_ns_per_mib(found)
            self.assigned(self._bonds[bond])
        anyone = any(found.send_kbps or found.recv_kbps for found in self._rates.values())
        self._plane.node["limiting"] = int(anyone)


def _shown(found: Rates, waiting: Waiting) -> RateSnapshot:
    return RateSnapshot(
        send=found.send_kbps or None,
        sendByPeer=found.by_peer,
        sendWaiting=waiting.backlog_bytes,
        sendDropped=waiting.dropped,
        receive=found.recv_kbps or None,
        receiveAgreed=found.agreed,
    )
