"""`mpbond plan`: the steps that `up` would take, from a look at the host."""

from __future__ import annotations

import os

from pyroute2 import IPRoute

from mpbond import layout, plan
from mpbond.config.model import Config
from mpbond.kernel import registry
from mpbond.kernel.links import read_inventory
from mpbond.layout import BondSpec
from mpbond.learnt import waits


def preview(config: Config, ipr: IPRoute) -> list[str]:
    """One line a step. Nothing is changed, not even read from maps: a running bond
    is named, and planned as if it were to be made."""
    name = config.interface.name
    lines: list[str] = []
    if os.geteuid() == 0 and registry.is_running(ipr, name):
        lines.append(f"{name} is there already: `up` adopts it, and makes only what is missing of:")
    inventory = read_inventory(ipr)
    wanted = layout.compute(config, inventory, block=layout.block_size(config, inventory))
    lines += [str(step) for step in plan.plan(wanted, None)]
    return lines + [_why_empty(bond) for bond in wanted.bonds if not bond.paths]


def _why_empty(bond: BondSpec) -> str:
    if waits(bond.peer):
        return f"peer {bond.peer.id} has no path yet: the file has no endpoints of it, so it has to begin"
    return f"peer {bond.peer.id} has no path yet: no link has a route to its endpoints"
