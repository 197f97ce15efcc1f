"""A steady UDP stream and what became of it: the measure of every failover.

`python -m mpbond.lab.stream send|receive` run in the lab's namespaces. Packets
carry a number and the time of sending; the receiver keeps the kernel's receive
stamp, so that neither process's own delays count against the bond.
"""

from __future__ import annotations

import argparse
import itertools
import json
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

_PACKET = struct.Struct("!QQ")  # number, CLOCK_REALTIME ns of sending
_SO_TIMESTAMPNS = 35
_SO_RCVBUFFORCE = 33
_RECEIVE_BUFFER = 16 << 20
# How late the sender may be before the lateness counts as its own stall.
_STALL_NS = 2_000_000
_IDLE_END_S = 1.5


@dataclass(frozen=True, slots=True)
class StreamReport:
    """What a stream of `sent` packets became. Gaps are between kernel receive
    stamps; `stalls_ms` are the sender's own pauses, which no bond can help."""

    sent: int
    received: int
    lost: int
    duplicated: int
    reordered: int
    longest_gap_ms: float
    lost_runs: tuple[tuple[int, int], ...]
    stalls_ms: tuple[float, ...]

    @property
    def longest_loss(self) -> int:
        """Packets lost in a row, at most."""
        return max((count for _, count in self.lost_runs), default=0)


def analyse(sent: int, arrivals: Sequence[tuple[int, int]], stalls_ms: Sequence[float]) -> StreamReport:
    """`arrivals`: (number, receive stamp in ns) in order of arrival."""
    numbers = [number for number, _ in arrivals]
    seen = set(numbers)
    stamps = sorted(stamp for _, stamp in arrivals)
    highest = -1
    reordered = 0
    for number in numbers:
        reordered += number < highest
        highest = max(highest, number)
    gaps = [(after - before) / 1e6 for before, after in itertools.pairwise(stamps)]
    return StreamReport(
        sent=sent,
        received=len(seen),
        lost=sent - len(seen),
        duplicated=len(numbers) - len(seen),
        reordered=reordered,
        longest_gap_ms=round(max(gaps, default=0.0), 3),
        lost_runs=tuple(_runs(number for number in range(sent) if number not in seen)),
        stalls_ms=tuple(stalls_ms),
    )


def lost_after(marks_ns: Sequence[int], sent: int, arrivals: Sequence[tuple[int, int]]) -> list[int]:
    """Packets lost between each mark (CLOCK_REALTIME ns) and the next: what each of
    several cuts in one stream cost. A packet counts to the mark after which its
    neighbours arrived."""
    by_stamp = sorted((stamp, number) for number, stamp in arrivals)
    starts: list[int] = []
    at = 0
    highest = -1
    for mark in marks_ns:
        while at < len(by_stamp) and by_stamp[at][0] <= mark:
            highest = max(highest, by_stamp[at][1])
            at += 1
        starts.append(highest + 1)
    seen = {number for number, _ in arrivals}
    ends = [*starts[1:], sent]
    return [sum(number not in seen for number in range(a, b)) for a, b in zip(starts, ends, strict=True)]


def gap_ms(arrivals: Sequence[tuple[int, int]], since_ns: int, until_ns: int | None = None) -> float:
    """The longest silence at the receiver that lasted past `since_ns` and began
    before `until_ns` (CLOCK_REALTIME ns; None: the end): what one cut looked like."""
    stamps = sorted(stamp for _, stamp in arrivals)
    silences = [
        after - before
        for before, after in itertools.pairwise(stamps)
        if after > since_ns and (until_ns is None or before < until_ns)
    ]
    return round(max(silences, default=0) / 1e6, 3)


def _runs(missing: Iterable[int]) -> list[tuple[int, int]]:
    """(first number, how many) of each run of missing numbers."""
    runs: list[tuple[int, int]] = []
    for number in missing:
        if runs and sum(runs[-1]) == number:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((number, 1))
    return runs


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def send(dest: str, port: int, interval_us: int, count: int, source_port: int, tos: int = 0) -> None:
    """Sends on an absolute schedule until `count`, or until SIGTERM for 0, with this
    TOS or traffic class; then prints how many and its own stalls as JSON. Says
    `started` on standard error."""
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
    sock = socket.socket(_family(dest), socket.SOCK_DGRAM)
    sock.bind(("::" if _family(dest) is socket.AF_INET6 else "", source_port))
    sock.connect((dest, port))
    if _family(dest) is socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, tos)
    else:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, tos)
    stalls_ms: list[float] = []
    number = 0
    # From here on SIGTERM ends the stream and is answered with the result.
    print("started", file=sys.stderr, flush=True)
    start_ns = time.monotonic_ns()
    while not stopped and (count == 0 or number < count):
        due_ns = start_ns + number * interval_us * 1000
        wait_ns = due_ns - time.monotonic_ns()
        if wait_ns > 0:
            time.sleep(wait_ns / 1e9)
        late_ns = time.monotonic_ns() - due_ns
        if late_ns > _STALL_NS:
            # Not made up for by a burst: the schedule itself moves.
            stalls_ms.append(round(late_ns / 1e6, 3))
            start_ns += late_ns
        _send_one(sock, number)
        number += 1
    print(json.dumps({"sent": number, "stalls_ms": stalls_ms}), flush=True)


def _send_one(sock: socket.socket, number: int) -> None:
    try:
        sock.send(_PACKET.pack(number, time.time_ns()))
    except OSError:
        # The bond refused it or an earlier one was answered by an ICMP error: it
        # counts as sent, and so as lost.
        return


def receive(address: str, port: int, result: Path) -> None:
    """Until SIGTERM and then silence; writes arrivals to `result`."""
    stopped: list[float] = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(time.monotonic()))
    sock = socket.socket(_family(address), socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    sock.bind((address, port))
    print("ready", flush=True)
    arrivals: list[tuple[int, int]] = []
    while True:
        if not select.select([sock], [], [], 0.1)[0]:
            if stopped:
                break
            continue
        data, control, _, _ = sock.recvmsg(2048, 64)
        seconds, nanos = struct.unpack_from("=qq", control[0][2])
        arrivals.append((_PACKET.unpack_from(data)[0], seconds * 1_000_000_000 + nanos))
    result.write_text(json.dumps(arrivals))


def _main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="mpbond.lab.stream")
    verbs = parser.add_subparsers(dest="verb", required=True)
    sender = verbs.add_parser("send")
    sender.add_argument("dest")
    sender.add_argument("--port", type=int, default=5999)
    sender.add_argument("--interval-us", type=int, default=1000)
    sender.add_argument("--count", type=int, default=0)
    sender.add_argument("--source-port", type=int, default=0)
    sender.add_argument("--tos", type=int, default=0)
    receiver = verbs.add_parser("receive")
    receiver.add_argument("address")
    receiver.add_argument("--port", type=int, default=5999)
    receiver.add_argument("--result", type=Path, required=True)
    args = parser.parse_args(argv)
    if args.verb == "send":
        send(args.dest, args.port, args.interval_us, args.count, args.source_port, args.tos)
    else:
        receive(args.address, args.port, args.result)


if __name__ == "__main__":
    _main(sys.argv[1:])
