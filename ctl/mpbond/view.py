"""Snapshots as tables for people. Renders, reads nothing.

Columns are those of ZeroTier's document, with the path's state and its traffic
beside them, in three tables that each fit into 80 columns. A value that was not
measured yet is a dash; what has no bound in length (names, IPv6 addresses) goes on
in the next line rather than being cut.
"""

from __future__ import annotations

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mpbond import view_peer
from mpbond.connections import one_and_others
from mpbond.snapshot import BondSnapshot, PathSnapshot, RateSnapshot, Snapshot

_STATE_STYLE = {"up": "green", "waiting": "yellow", "held": "yellow", "down": "red", "link down": "red"}


# What an age is given in once it is 10 s: a link that is down for a day has no ms.
_AGE_UNITS = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (10_000, "s"))


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _ms(value: float | None) -> str:
    """0.12, 12.34, 1235: a second needs no hundredths of a millisecond."""
    return _number(value, 2 if value is None or value < 1000 else 0)


def _age(value_ms: float | None) -> str:
    """ms, as ZeroTier has it; with a unit where it is another: 42s, 17m, 3h, 2d."""
    if value_ms is None:
        return "never"
    for at_least_ms, unit in _AGE_UNITS:
        if value_ms >= at_least_ms:
            return f"{value_ms / (1000 if unit == 's' else at_least_ms):.0f}{unit}"
    return f"{value_ms:.0f}"


def _flag(value: bool) -> str:
    return "1" if value else "0"


def human_count(value: int) -> str:
    """Bytes or packets, 12.3M: three digits or so, powers of 1000."""
    size = float(value)
    for unit in ("", "k", "M", "G"):
        if size < 1000:
            return f"{size:.0f}{unit}" if unit == "" else f"{size:.1f}{unit}"
        size /= 1000
    return f"{size:.1f}T"


def _table(*columns: tuple[str, str]) -> Table:
    """Columns as (head, alignment): l, r, or f for left and folded where too long."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for name, kind in columns:
        table.add_column(
            name, justify="right" if kind == "r" else "left", no_wrap=kind != "f", overflow="fold"
        )
    return table


def bond_list(snapshot: Snapshot) -> RenderableType:
    """One line a peer: who, which policy, how many links live."""
    heads = (("peer", "l"), ("name", "f"), ("policy", "f"), ("links", "r"), ("conns", "r"))
    table = _table(*heads, ("session", "l"), ("failovers", "r"))
    for bond in snapshot.bonds:
        style = "green" if bond.session == "up" else "red"
        table.add_row(
            bond.address,
            bond.name or "-",
            bond.bondingPolicyStr,
            f"{bond.numAliveLinks}/{bond.numTotalLinks}",
            bond.connections,
            Text(bond.session, style=style),
            str(bond.failoverEvents),
        )
    return table


def _policy(bond: BondSnapshot) -> str:
    if bond.bondingPolicyStr == bond.configuredPolicy:
        return bond.bondingPolicyStr
    return f"{bond.bondingPolicyStr} (until the next up; in the file: {bond.configuredPolicy})"


def _session(bond: BondSnapshot) -> str:
    """With what came of handshakes: since when, and whether another is asked for."""
    if bond.keys is None or bond.keys.age is None:
        return bond.session
    keys = bond.keys
    renewed = f", renewed {keys.rekeys} times" if keys.rekeys else ""
    asking = f"; asked {keys.tries} times for another" if keys.tries else ""
    return f"{bond.session}, agreed {keys.age:.0f} s ago{renewed}{asking}"


def _connections(bond: BondSnapshot) -> str:
    """One for metadata and the others for data."""
    if bond.connectionsPerPath == 1:
        return bond.connections
    return f"{bond.connections} ({bond.connectionsPerPath} agreed, on each path)"


def _facts(bond: BondSnapshot) -> RenderableType:
    lines = [
        ("Peer", bond.address + (f" ({bond.name})" if bond.name else "")),
        ("Bond", _policy(bond)),
        ("Base Policy", bond.basePolicy),
        ("Link Select Method", bond.linkSelectMethod or "-"),
        ("Peer's Policy", view_peer.policy(bond)),
        ("Links", f"{bond.numAliveLinks}/{bond.numTotalLinks}"),
        ("Connections", _connections(bond)),
        ("Session", _session(bond)),
        ("Failover Interval (ms)", str(bond.failoverInterval)),
        ("Up Delay (ms)", str(bond.upDelay)),
        ("Down Delay (ms)", str(bond.downDelay)),
        ("Failovers", str(bond.failoverEvents)),
        *view_peer.facts(bond, _age),
    ]
    if bond.packetsPerLink is not None:
        lines.insert(11, ("Packets Per Link", str(bond.packetsPerLink)))
    if bond.rates is not None:
        lines += _rates(bond.rates)
    return Text("\n".join(f"{name:<23}: {value}" for name, value in lines))


def _rates(rates: RateSnapshot) -> list[tuple[str, str]]:
    lines = []
    if rates.send is not None:
        whose = " (the peer wants no more)" if rates.sendByPeer else ""
        dropped = f", {rates.sendDropped} dropped" if rates.sendDropped else ""
        lines.append(
            ("Send Limit (KiB/s)", f"{rates.send}{whose}; {human_count(rates.sendWaiting)} B wait{dropped}")
        )
    if rates.receive is not None:
        told = "" if rates.receiveAgreed else " (the peer has not been told: what is beyond is dropped)"
        lines.append(("Receive Limit (KiB/s)", f"{rates.receive}{told}"))
    return lines


def _where(bond: BondSnapshot) -> Table:
    heads = (("idx", "r"), ("interface", "l"), ("local", "f"), ("path", "f"), ("mode", "l"), ("rx", "l"))
    table = _table(*heads, ("conns", "r"), ("score", "r"), ("state", "l"))
    for path in bond.paths:
        state = Text(path.state, style=_STATE_STYLE.get(path.state, ""))
        if path.active:
            state.append(" active", style="bold")
        if path.avoided:
            state.append(" avoided", style="yellow")
        mode = _mode(path)
        table.add_row(
            str(path.idx),
            path.ifname,
            path.localAddress,
            f"{path.address} (learnt)" if path.learnt else path.address,
            mode,
            path.rx,
            one_and_others(path.connections) if path.metadata else str(path.connections),
            _number(path.healthScore, 0),
            state,
        )
    return table


def _mode(path: PathSnapshot) -> str:
    """Ours; where it is a spare for the peer's sake, or a nearer path's, that is said."""
    if path.mode == "spare":
        return path.mode
    if path.peerSpare:
        return "spare (peer)"
    return "spare (far)" if path.farther else path.mode


def _held(path: PathSnapshot) -> str:
    seconds = f"{path.heldMs / 1000:.1f} s"
    return f"path {path.idx} ({path.ifname}): held {seconds} more after {path.flaps} flaps"


def _avoided(path: PathSnapshot) -> str:
    seconds = f"{path.avoidedMs / 1000:.0f} s"
    return (
        f"path {path.idx} ({path.ifname}): was over a limit; used again once it has been well for {seconds}"
    )


_HOW = ("idx", "lat", "pdv", "plr", "per", "speed", "rx_age", "tx_age", "eligible", "bonded")


def _how(bond: BondSnapshot) -> Table:
    table = _table(*((name, "r") for name in _HOW))
    for path in bond.paths:
        table.add_row(*_how_row(path))
    return table


def _how_row(path: PathSnapshot) -> list[str]:
    return [
        str(path.idx),
        _ms(path.latencyMean),
        _ms(path.latencyVariance),
        _number(path.packetLossRatio, 4),
        _number(path.packetErrorRatio, 4),
        _speed(path),
        _age(path.lastInAge),
        _age(path.lastOutAge),
        _flag(path.eligible),
        _flag(path.bonded),
    ]


def _speed(path: PathSnapshot) -> str:
    """Mbit/s by the file, or about what was measured."""
    if path.capacity is not None or path.capacityEstimated is None:
        return "-" if path.capacity is None else str(path.capacity)
    return f"~{_number(path.capacityEstimated, 1 if path.capacityEstimated < 10 else 0)}"


_CARRIED = ("alloc", "flows", "tx_packets", "tx_bytes", "rx_packets", "rx_bytes")


def _carried(bond: BondSnapshot) -> Table:
    table = _table(("idx", "r"), ("interface", "l"), *((name, "r") for name in _CARRIED))
    for path in bond.paths:
        table.add_row(
            str(path.idx),
            path.ifname,
            f"{path.allocation:.2f}",
            str(path.assignedFlowCount),
            human_count(path.txPackets),
            human_count(path.txBytes),
            human_count(path.rxPackets),
            human_count(path.rxBytes),
        )
    return table


def _peers(bond: BondSnapshot) -> Table | None:
    heads = view_peer.HEADS
    kinds = ["r" if name in ("idx", "lat", "pdv", "plr", "per") else "l" for name in heads]
    return view_peer.fill(_table(*zip(heads, kinds, strict=True)), bond, _number)


def bond_show(snapshot: Snapshot, bond: BondSnapshot) -> RenderableType:
    """All of one bond: facts, where its paths lead, how they do, what they carried."""
    parts: list[RenderableType] = [_facts(bond)]
    for table in (_where(bond), _how(bond), _carried(bond), _peers(bond)):
        parts += [Text(""), table] if table is not None else []
    warnings = [_why_no_session(snapshot, bond)] if bond.session == "no session" else []
    warnings += [_held(path) for path in bond.paths if path.heldMs > 0]
    warnings += [_avoided(path) for path in bond.paths if path.avoidedMs > 0]
    warnings += view_peer.notes(bond)
    warnings += snapshot.notes
    if warnings:
        parts += [Text(""), *(Text(warning, style="yellow") for warning in warnings)]
    return Group(*parts)


# Of handshakes that come to nothing, by what they are counted under: the first that
# was counted is told.
_NO_HANDSHAKE = {
    "handshake_failed": "do not authenticate. Have both ends the same pre-shared key, or none?",
    "handshake_unknown_peer": "are of a public key that is no peer's. Is publicKey the peer's?",
    "handshake_replayed": "are older than one that was taken. Is the peer's clock right?",
    "rx_unknown_session": "are for another public key than ours, or of a peer with a shared key.",
}


_WAITS = (
    "No session: the file has no endpoints of the peer, so it has to begin; nothing of it came yet. "
    "Is it up, has it our address and port, is UDP let in?"
)


def _why_no_handshake(reasons: dict[str, int], bond: BondSnapshot) -> str:
    for name, text in _NO_HANDSHAKE.items():
        if reasons.get(name):
            return f"No session: {reasons[name]} messages of handshakes {text}"
    if bond.waits:
        return _WAITS
    tries = bond.keys.tries if bond.keys else 0
    return (
        f"No session: asked {tries} times, no answer. Is the peer up, are its endpoints right, is UDP let "
        "through?"
    )


def _why_no_session(snapshot: Snapshot, bond: BondSnapshot) -> str:
    """The likeliest reason that a peer was never heard, from the counters."""
    reasons = snapshot.reasons
    if bond.keys is not None:
        return _why_no_handshake(reasons, bond)
    if reasons.get("rx_unknown_session"):
        return (
            f"No session: {reasons['rx_unknown_session']} packets came with a session number of no peer. "
            "Have both ends the same key, and each the other's id?"
        )
    if reasons.get("rx_bad_mac"):
        return f"No session: {reasons['rx_bad_mac']} probes failed their check. Have both ends the same key?"
    if bond.waits:
        return _WAITS
    return "No session: nothing of this peer came in. Is it up, are its endpoints right, is UDP let through?"
