"""Puts a controller together: what the file, the keys and the kernel have."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from pyroute2 import IPRoute

from mpbond import layout
from mpbond.config.model import Config
from mpbond.controller import adopt, secrets
from mpbond.controller.carrier import Carrier
from mpbond.controller.control import Control
from mpbond.controller.controller import Controller
from mpbond.controller.scoring import Scoring
from mpbond.controller.trust import Trust
from mpbond.errors import BondError
from mpbond.handshake import REKEY_NS
from mpbond.kernel import headers, registry
from mpbond.kernel.dataplane import Dataplane
from mpbond.kernel.links import read_inventory
from mpbond.kernel.sizes import Sizes, check_sizes
from mpbond.learnt import waits
from mpbond.supported import refuse_unsupported

Say = Callable[[str], None]

# For tests: seconds after which sessions are renewed.
REKEY_ENVIRONMENT = "MPBOND_REKEY_S"


def sizes_for(config: Config, block: int) -> Sizes:
    """Room for an eighth more peers, eight at least, and for twice the prefixes: what a
    changed file adds must not need new maps."""
    peers = len(config.peers)
    bonds = -(-(peers + max(peers // 8, 8)) // 16) * 16
    prefixes = 2 * sum(len(peer.allowed) for peer in config.peers)
    sizes = Sizes(bonds=bonds, block=block, flows=config.interface.flows, prefixes=max(1024, prefixes))
    check_sizes(sizes)
    return sizes


def make_controller(
    config: Config, ipr: IPRoute, say: Say, minutes: Mapping[str, str] | None = None
) -> Controller:
    """Adopts the running data plane where it fits, else makes a new one. `minutes`: how
    paths have behaved before, by StateFile."""
    refuse_unsupported(config)
    config, keys = secrets.load(config)
    name = config.interface.name
    if registry.is_foreign(ipr, name):
        raise BondError(
            f"an interface {name} (or {name}-tx) exists that is not mpbond's: choose another name"
        )
    inventory = read_inventory(ipr)
    block = layout.block_size(config, inventory)
    plane = adopt.find(ipr, name)
    carrier = Carrier(config.node.port) if keys.psks else None
    installed = None
    if plane is not None and adopt.fits(plane, config, block):
        say(f"adopting {name}: its programs and maps run on")
        installed = adopt.installed(plane, config, inventory, ipr, keys.sessions)
    else:
        if plane is not None:
            plane.close()
        plane = _make_plane(config, ipr, block, say)
    for peer in config.peers:
        if waits(peer):
            say(f"peer {peer.id}: the file has no endpoints of it, so it has to begin: waiting for it")
    return Controller(
        config,
        plane,
        ipr,
        keys.sessions,
        Scoring(minutes or {}),
        installed=installed,
        say=say,
        trust=_make_trust(plane, keys, carrier, say),
    )


def _make_plane(config: Config, ipr: IPRoute, block: int, say: Say) -> Dataplane:
    """In the place of whatever is there."""
    for left in registry.remove(ipr, config.interface.name):
        say(f"removed an earlier {left.what} on {left.ifname}")
    message = headers.arrange()
    if message:
        say(message)
    return Dataplane.create(sizes_for(config, block))


def _make_trust(plane: Dataplane, keys: secrets.Secrets, carrier: Carrier | None, say: Say) -> Trust | None:
    """None where every peer has a shared key: then no message is a handshake's."""
    if keys.identity is None or carrier is None:
        plane.node["handshake_tag"] = 0
        return None
    seconds = os.environ.get(REKEY_ENVIRONMENT)
    rekey_ns = int(float(seconds) * 1e9) if seconds else REKEY_NS
    control = Control(plane, carrier)
    return Trust(keys.identity, keys.psks, plane, carrier, control, rekey_ns=rekey_ns, say=say)
