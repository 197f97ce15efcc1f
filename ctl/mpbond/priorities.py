"""Near before far: which paths stay on the local network, and which come first. Pure.

Syncthing's priorities (connectionPriorityLan and so on), per path instead of per
connection: a lower number is better, and while a path of the best class lives the
worse ones are spares. Where a policy lists its links the user has chosen among
them; the number then only decides between paths of the same score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from mpbond.config.model import Address, Network, Settings
from mpbond.inventory import Inventory
from mpbond.layout import PathSpec


class Reach(StrEnum):
    LAN = "lan"
    WAN = "wan"


@dataclass(frozen=True, slots=True)
class Precedence:
    """Of one path: where it leads; `number`: lower is better."""

    reach: Reach
    number: int


# Where nothing is known, as before a host was read: nobody is before anybody.
EQUAL = Precedence(Reach.WAN, 0)


def reach(remote: Address, near: Sequence[Network]) -> Reach:
    """LAN: link-local, or in one of the networks `near`."""
    if remote.is_link_local or any(
        remote in network for network in near if network.version == remote.version
    ):
        return Reach.LAN
    return Reach.WAN


def precedence(path: PathSpec, settings: Settings, inventory: Inventory) -> Precedence:
    """By the prefixes of the path's own link, and by alwaysLocalNets. (A prefix of another
    link says nothing: what this one reaches there is behind a router.)"""
    own = [item.interface.network for item in inventory.addresses if item.ifindex == path.ifindex]
    leads = reach(path.key.remote, [*own, *settings.always_local_nets])
    number = settings.priority_lan if leads is Reach.LAN else settings.priority_wan
    return Precedence(leads, number)
