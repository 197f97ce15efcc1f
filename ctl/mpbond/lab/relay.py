"""The process in the middle of an emulated wire: takes packets, holds them, sends them.

`python -m mpbond.lab.relay` runs in a lab's middle namespace, one for each wire.
Packets are read from the kernel's packet rings (AF_PACKET, TPACKET_V2), which cost
no system call and carry the time of arrival: the delay counts from there, however
late this process gets to read. While there is traffic it works once a tick, else it
sleeps until a packet comes or is due. It answers on a socket, see emulator.py.
"""

from __future__ import annotations

import contextlib
import gc
import json
import mmap
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from typing import Any

from mpbond.lab.schedule import CUT, FULL, INTACT, LONG, PASSED, UNSENT, Impairment, Schedule, flipped

# One record of the log; emulator.RECORD is the same for numpy: time in, due, out,
# length, flipped bit, direction, verdict.
RECORD = struct.Struct("=qqqIiBB6x")
NO_BIT = -1
DIRECTIONS = ("a->b", "b->a")

_TICK_S = 100e-6
# About what the kernel oversleeps: sent as much too early, delays are right on average.
_EARLY_NS = 50_000
# Sent in a row before the rings are looked at again.
_BURST = 64
# Held in each direction at most; about 150 MB.
_MOST_HELD = 100_000
_LOG_CHUNK = 1024

_SOL_PACKET = 263
_PACKET_RX_RING = 5
_PACKET_STATISTICS = 6
_PACKET_VERSION = 10
_PACKET_QDISC_BYPASS = 20
_PACKET_IGNORE_OUTGOING = 23
_TPACKET_V2 = 1
_ETH_P_ALL = 3
_SO_SNDBUFFORCE = 32
_SEND_BUFFER = 16 << 20
_RING_FRAMES = 4096
_RING_BLOCK = 1 << 16
# Ethernet header, VLAN tag, tpacket2_hdr and sockaddr_ll, rounded up.
_FRAME_OVERHEAD = 128
# struct tpacket2_hdr up to the time: status, len, snaplen, mac, net, sec, nsec
_FRAME = struct.Struct("=IIIHHII")
_KERNEL_OWNS = b"\0\0\0\0"
_CHECKSUM_NOT_READY = 1 << 3

_REALTIME_PRIORITY = 1

# due, number, direction, arrival, length, flip, frame
Held = tuple[int, int, int, int, int, float, bytes]


def address_of(wire: str) -> bytes:
    """Of the relay's socket: abstract, so it lives and dies in its namespace."""
    return f"\0mpbond-relay-{wire}".encode()


class _Port:
    """One end of the wire in the middle: the ring of what comes in, and a way out."""

    def __init__(self, ifname: str, mtu: int) -> None:
        self._size = 2048
        while self._size < mtu + _FRAME_OVERHEAD:
            self._size *= 2
        block = max(_RING_BLOCK, self._size)
        total = _RING_FRAMES * self._size
        # Protocol 0: nothing is taken before the ring is there and bound.
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.socket.setsockopt(_SOL_PACKET, _PACKET_VERSION, _TPACKET_V2)
        self.socket.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _SEND_BUFFER)
        ring = struct.pack("=IIII", block, total // block, self._size, _RING_FRAMES)
        self.socket.setsockopt(_SOL_PACKET, _PACKET_RX_RING, ring)
        self._ring = mmap.mmap(self.socket.fileno(), total)
        self._at = 0
        self.socket.bind((ifname, _ETH_P_ALL))
        self.send = self.socket.send
        self.missed = 0

    def take(self) -> list[tuple[int, int, bytes | None]]:
        """What has come: (time of arrival, length, frame); None for a frame that is no
        packet of a wire, as it is longer than the MTU or not finished."""
        taken: list[tuple[int, int, bytes | None]] = []
        ring, at, size = self._ring, self._at, self._size
        while True:
            status, length, captured, start, _, seconds, nanos = _FRAME.unpack_from(ring, at)
            if not status & 1 or len(taken) == _RING_FRAMES:
                break
            start += at
            whole = captured == length and not status & _CHECKSUM_NOT_READY
            frame = ring[start : start + length] if whole else None
            taken.append((seconds * 1_000_000_000 + nanos, length, frame))
            ring[at : at + 4] = _KERNEL_OWNS
            at += size
            if at == size * _RING_FRAMES:
                at = 0
        self._at = at
        return taken

    def count_missed(self) -> int:
        """Packets that found the ring full: lost by the emulator itself."""
        self.missed += struct.unpack("=II", self.socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))[1]
        return self.missed


class _Log:
    """Records in memory of the kernel's (a memfd), handed over as they are."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("mpbond-emulation-log")
        self._waiting: list[bytes] = []

    def add(self, *record: int) -> None:
        self._waiting.append(RECORD.pack(*record))
        if len(self._waiting) == _LOG_CHUNK:
            self.flush()

    def flush(self) -> None:
        data = b"".join(self._waiting)
        while data:
            data = data[os.write(self.fd, data) :]
        self._waiting.clear()


class Relay:
    """Ports 0 and 1 are the wire's ends a and b; direction 0 goes from 0 to 1."""

    def __init__(self, wire: str, ports: Sequence[_Port], seed: str) -> None:
        self._ports = ports
        self._schedules = [Schedule(f"{seed} {direction}") for direction in DIRECTIONS]
        self._control = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._control.bind(address_of(wire))
        self._held: list[Held] = []
        self._held_of = [0, 0]
        self._number = 0
        self._log: _Log | None = None
        self._missed_before = 0
        self.is_realtime = False

    # ---- packets ----------------------------------------------------------------

    def run(self) -> None:
        control = [self._control]
        everything = [*control, *(port.socket for port in self._ports)]
        while True:
            worked = self._take()
            worked = self._send() or worked
            if worked:
                ready = select.select(control, [], [], _TICK_S)[0]
            else:
                ready = select.select(everything, [], [], self._until_due_s())[0]
            if self._control in ready:
                self._take()
                self._answer()

    def _until_due_s(self) -> float | None:
        if not self._held:
            return None
        return max(0.0, (self._held[0][0] - _EARLY_NS - time.time_ns()) / 1e9)

    def _take(self) -> bool:
        """Decides on all that has come."""
        worked = False
        for way, port in enumerate(self._ports):
            taken = port.take()
            if not taken:
                continue
            worked = True
            now_ns = time.time_ns()
            offer = self._schedules[way].offer
            for arrived_ns, length, frame in taken:
                # A clock that was set back must not hold a packet for the difference.
                arrived_ns = min(arrived_ns, now_ns)
                if frame is None:
                    verdict, due_ns, flip = LONG, arrived_ns, INTACT
                elif self._held_of[way] >= _MOST_HELD:
                    verdict, due_ns, flip = FULL, arrived_ns, INTACT
                else:
                    verdict, due_ns, flip = offer(arrived_ns, length)
                    if verdict == PASSED:
                        self._number += 1
                        self._held_of[way] += 1
                        heappush(self._held, (due_ns, self._number, way, arrived_ns, length, flip, frame))
                        continue
                if self._log:
                    self._log.add(arrived_ns, due_ns, 0, length, NO_BIT, way, verdict)
        return worked

    def _send(self) -> bool:
        """Sends what is due, at most a burst."""
        held = self._held
        now_ns = time.time_ns()
        worked = False
        for _ in range(_BURST):
            if not held or held[0][0] > now_ns + _EARLY_NS:
                break
            due_ns, _, way, arrived_ns, length, flip, frame = heappop(held)
            self._held_of[way] -= 1
            bit = NO_BIT
            if flip != INTACT:
                frame, bit = flipped(frame, flip)
            out_ns, verdict = now_ns, PASSED
            try:
                self._ports[1 - way].send(frame)
            except OSError:
                # The end is down, or its own qdisc dropped it.
                out_ns, verdict = 0, UNSENT
            if self._log:
                self._log.add(arrived_ns, due_ns, out_ns, length, bit, way, verdict)
            now_ns = time.time_ns()
            worked = True
        return worked

    def _drop_held(self, ways: Sequence[int]) -> None:
        """A cut also takes what is on its way."""
        stays = [held for held in self._held if held[2] not in ways]
        for due_ns, _, way, arrived_ns, length, _, _ in self._held:
            if way in ways and self._log:
                self._log.add(arrived_ns, due_ns, 0, length, NO_BIT, way, CUT)
        self._held = stays
        heapify(self._held)
        for way in ways:
            self._held_of[way] = 0

    # ---- requests ----------------------------------------------------------------

    def _answer(self) -> None:
        data, sender = self._control.recvfrom(1 << 16)
        request = json.loads(data)
        reply: dict[str, Any] = {}
        fds: list[int] = []
        verb = request["do"]
        if verb == "log":
            fds, reply["missed"] = self._toggle_log(request["on"])
        elif verb == "show":
            reply = self._state()
        else:
            self._change(verb, request)
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", fd)) for fd in fds]
        # Who asked may have gone; what was asked is done.
        with contextlib.suppress(OSError):
            self._control.sendmsg([json.dumps(reply).encode()], ancillary, 0, sender)
        for fd in fds:
            os.close(fd)

    def _change(self, verb: str, request: dict[str, Any]) -> None:
        ways = request["ways"]
        for way in ways:
            schedule = self._schedules[way]
            if verb == "emulate":
                schedule.change(Impairment(**request["impairment"]))
                if request["seed"] is not None:
                    schedule.seed(f"{request['seed']} {DIRECTIONS[way]}")
            elif verb == "shape":
                schedule.shape(request["rate_mbit"], request["queue_ms"])
            elif verb == "gate":
                schedule.gate(is_cut=request["is_cut"], lose=request["lose"])
        if verb == "gate" and request["is_cut"]:
            self._drop_held(ways)

    def _toggle_log(self, on: bool) -> tuple[list[int], int]:
        """Starts afresh, or ends: the file and how many packets were missed since."""
        ended, self._log = self._log, None
        missed = sum(port.count_missed() for port in self._ports)
        since, self._missed_before = missed - self._missed_before, missed
        if ended:
            ended.flush()
        if on:
            if ended:
                os.close(ended.fd)
            self._log = _Log()
            return [], since
        return ([ended.fd] if ended else []), since

    def _state(self) -> dict[str, Any]:
        directions = {
            direction: {
                **{name: getattr(schedule.impairment, name) for name in Impairment.__slots__},
                "is_cut": schedule.is_cut,
                "lose": schedule.lose,
                "held": held,
            }
            for direction, schedule, held in zip(DIRECTIONS, self._schedules, self._held_of, strict=True)
        }
        missed = sum(port.count_missed() for port in self._ports)
        return {"directions": directions, "missed": missed, "is_realtime": self.is_realtime}


def _become_realtime() -> bool:
    """A wire does not wait for the hosts' programs to let it have the CPU."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_REALTIME_PRIORITY))
    except OSError:
        return False
    return True


def _main(argv: Sequence[str]) -> None:
    wire, mtu, seed, if_a, if_b = argv
    relay = Relay(wire, [_Port(ifname, int(mtu)) for ifname in (if_a, if_b)], seed)
    relay.is_realtime = _become_realtime()
    # Nothing here makes cycles, and a pause would delay packets.
    gc.disable()
    print("ready", flush=True)
    relay.run()


if __name__ == "__main__":
    _main(sys.argv[1:])
