"""What the peer says of itself and of its paths, as a part of `bond show`. Pure."""

from __future__ import annotations

from collections.abc import Callable

from rich.table import Table

from mpbond.control_frames import policy_text
from mpbond.snapshot import BondSnapshot, PathSnapshot, PathViewSnapshot

# Above it an age brings its own unit.
SHORT_MS = 10_000
HEADS = ("idx", "interface", "peer_state", "peer_mode", "lat", "pdv", "plr", "per", "used")


def policy(bond: BondSnapshot) -> str:
    """By its report with its name, else by its probes."""
    view = bond.peerView
    if view is None:
        return bond.peerPolicy or "-"
    return policy_text(view.policy, view.policyBase)


def facts(bond: BondSnapshot, age: Callable[[float | None], str]) -> list[tuple[str, str]]:
    """Lines of (name, value); `age` makes text of ms."""
    view = bond.peerView
    if view is None:
        return [("Peer's View", f"not known ({bond.peerViewMissing})")]
    when = f"{view.reportAge:.0f} ms" if view.reportAge < SHORT_MS else age(view.reportAge)
    seen = f"heard {when} ago, longest gap {view.reportGap:.0f} ms"
    over = "no path" if bond.metadataPath is None else f"path {bond.metadataPath}"
    return [("Peer's View", seen), ("Metadata Connection", over)]


def _row(path: PathSnapshot, view: PathViewSnapshot, number: Callable[[float | None, int], str]) -> list[str]:
    return [
        str(path.idx),
        path.ifname,
        view.peerState,
        view.peerMode,
        number(view.peerLatencyMean, 2),
        number(view.peerLatencyVariance, 2),
        number(view.peerPacketLossRatio, 4),
        number(view.peerPacketErrorRatio, 4),
        "1" if view.peerActive else "0",
    ]


def fill(table: Table, bond: BondSnapshot, number: Callable[[float | None, int], str]) -> Table | None:
    """The rows of what the peer says of each path; None where there are none."""
    for path in bond.paths:
        if path.peerView is not None:
            table.add_row(*_row(path, path.peerView, number))
    return table if table.row_count else None


def notes(bond: BondSnapshot) -> list[str]:
    """Where the ends send by different policies. Each may, but seldom should."""
    base = bond.peerView.policyBase if bond.peerView else bond.peerPolicy
    own = "active-backup" if bond.basePolicy == "none" else bond.basePolicy
    if base is None or base == own:
        return []
    ours = policy_text(bond.bondingPolicyStr, own)
    return [f"The peer sends by another policy: {policy(bond)}. Here it is {ours}."]
