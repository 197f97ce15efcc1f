"""Snapshots as tables for people. Renders, reads nothing.

Columns are those of ZeroTier's document, with flows, traffic and the path's
state beside them. A value that was not measured yet is a dash.
"""

from __future__ import annotations

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mpbond.snapshot import BondSnapshot, PathSnapshot, Snapshot

_STATE_STYLE = {"up": "green", "waiting": "yellow", "down": "red", "link down": "red"}


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _age(value_ms: float | None) -> str:
    return "never" if value_ms is None else f"{value_ms:.0f}"


def _flag(value: bool) -> str:
    return "1" if value else "0"


def human_bytes(value: int) -> str:
    """12.3M: three digits or so, powers of 1000."""
    size = float(value)
    for unit in ("", "k", "M", "G"):
        if size < 1000:
            return f"{size:.0f}{unit}" if unit == "" else f"{size:.1f}{unit}"
        size /= 1000
    return f"{size:.1f}T"


def _table(*columns: tuple[str, str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for name, justify in columns:
        table.add_column(name, justify="right" if justify == "r" else "left", no_wrap=True)
    return table


def bond_list(snapshot: Snapshot) -> RenderableType:
    """One line a peer: who, which policy, how many links live."""
    table = _table(("peer", "l"), ("name", "l"), ("policy", "l"), ("links", "r"), ("session", "l"), ("failovers", "r"))
    for bond in snapshot.bonds:
        style = "green" if bond.session == "up" else "red"
        table.add_row(
            bond.address,
            bond.name or "-",
            bond.bondingPolicyStr,
            f"{bond.numAliveLinks}/{bond.numTotalLinks}",
            Text(bond.session, style=style),
            str(bond.failoverEvents),
        )
    return table


def _facts(bond: BondSnapshot) -> RenderableType:
    lines = [
        ("Peer", bond.address + (f" ({bond.name})" if bond.name else "")),
        ("Bond", bond.bondingPolicyStr),
        ("Base Policy", bond.basePolicy),
        ("Link Select Method", bond.linkSelectMethod or "-"),
        ("Links", f"{bond.numAliveLinks}/{bond.numTotalLinks}"),
        ("Session", bond.session),
        ("Failover Interval (ms)", str(bond.failoverInterval)),
        ("Up Delay (ms)", str(bond.upDelay)),
        ("Down Delay (ms)", str(bond.downDelay)),
        ("Failovers", str(bond.failoverEvents)),
    ]
    if bond.packetsPerLink is not None:
        lines.insert(9, ("Packets Per Link", str(bond.packetsPerLink)))
    return Text("\n".join(f"{name:<23}: {value}" for name, value in lines))


def _where(bond: BondSnapshot) -> Table:
    table = _table(("idx", "r"), ("interface", "l"), ("local", "l"), ("path", "l"), ("mode", "l"), ("rx", "l"), ("state", "l"))
    for path in bond.paths:
        state = Text(path.state, style=_STATE_STYLE.get(path.state, ""))
        if path.active:
            state.append(" active", style="bold")
        table.add_row(str(path.idx), path.ifname, path.localAddress, path.address, path.mode, path.rx, state)
    return table


def _how(bond: BondSnapshot) -> Table:
    table = _table(
        *((name, "r") for name in ("idx", "lat", "pdv", "plr", "per", "speed", "alloc")),
        *((name, "r") for name in ("rx_age", "tx_age", "eligible", "bonded", "flows", "tx", "rx")),
    )
    for path in bond.paths:
        table.add_row(*_how_row(path))
    return table


def _how_row(path: PathSnapshot) -> list[str]:
    return [
        str(path.idx),
        _number(path.latencyMean, 2),
        _number(path.latencyVariance, 2),
        _number(path.packetLossRatio, 4),
        _number(path.packetErrorRatio, 4),
        "-" if path.capacity is None else str(path.capacity),
        f"{path.allocation:.2f}",
        _age(path.lastInAge),
        _age(path.lastOutAge),
        _flag(path.eligible),
        _flag(path.bonded),
        str(path.assignedFlowCount),
        human_bytes(path.txBytes),
        human_bytes(path.rxBytes),
    ]


def bond_show(snapshot: Snapshot, bond: BondSnapshot) -> RenderableType:
    """All of one bond: facts, where its paths lead, how they do."""
    parts: list[RenderableType] = [_facts(bond), _where(bond), _how(bond)]
    if bond.session == "no session":
        parts.append(Text(_why_no_session(snapshot), style="yellow"))
    parts += [Text(note, style="yellow") for note in snapshot.notes]
    return Group(*parts)


def _why_no_session(snapshot: Snapshot) -> str:
    """The likeliest reason that a peer was never heard, from the counters."""
    reasons = snapshot.reasons
    if reasons.get("rx_unknown_session"):
        return (
            f"No session: {reasons['rx_unknown_session']} packets came with a session number of no peer. "
            "Have both ends the same key, and each the other's id?"
        )
    if reasons.get("rx_bad_mac"):
        return f"No session: {reasons['rx_bad_mac']} probes failed their check. Have both ends the same key?"
    return "No session: nothing of this peer came in. Is it up, are its endpoints right, is UDP let through?"
