"""Rates of a peer over all its paths together, as Syncthing has them. Pure.

`maxSendKbps` and `maxRecvKbps` are KiB/s, 0 for none. What one end wants to receive the
other sends no more than, if a handshake has told it so; and what comes all the same
the receiver drops.
"""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
NS_PER_S = 1_000_000_000
# An agreed rate is policed a little higher: what was sent evenly may arrive in a heap.
AGREED_MARGIN = 1.05
# So much may arrive at once: a tenth of a second's, a few super-packets at least.
BURST_NS = NS_PER_S // 10
BURST_BYTES = 256 * KIB


@dataclass(frozen=True, slots=True)
class Rates:
    """Of one peer, KiB/s, 0 = none. `peers`: of the two, the one that the peer asked for
    is lower than ours."""

    send_kbps: int = 0
    recv_kbps: int = 0
    by_peer: bool = False
    agreed: bool = False


def rates(max_send_kbps: int, max_recv_kbps: int, peer_recv_kbps: int | None) -> Rates:
    """`peer_recv_kbps`: what the peer wants to receive at most; None where it has not said,
    and has not heard what we want either."""
    wishes = [rate for rate in (max_send_kbps, peer_recv_kbps or 0) if rate > 0]
    send = min(wishes, default=0)
    by_peer = bool(send) and send != max_send_kbps
    return Rates(send, max(0, max_recv_kbps), by_peer, peer_recv_kbps is not None)


def recv_ns_per_mib(found: Rates) -> int:
    """How long a MiB takes at the rate that is policed; 0 where none is."""
    if not found.recv_kbps:
        return 0
    bytes_per_s = found.recv_kbps * KIB * (AGREED_MARGIN if found.agreed else 1.0)
    return max(1, round((1 << 20) * NS_PER_S / bytes_per_s))


def recv_burst_ns(found: Rates) -> int:
    """How far ahead of its rate a peer may be."""
    if not found.recv_kbps:
        return 0
    return max(BURST_NS, BURST_BYTES * NS_PER_S // (found.recv_kbps * KIB))
