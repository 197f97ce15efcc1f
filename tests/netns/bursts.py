"""UDP flows with silences between their packets, and how they came. Run in a lab.

`bursts.py send DEST FLOWS SECONDS SEED` sends numbered packets of as many flows, each
from a port of its own: of every five one sends all the time, every 20 ms or so, the
others a few packets every 3 to 8 ms and then nothing for 20 to 400 ms. Prints how many
packets it sent. `bursts.py receive ADDRESS` says `ready`, counts until SIGTERM and then
silence, and prints packets, out of order (after one of its flow that was sent later),
and flows.
"""

from __future__ import annotations

import heapq
import json
import random
import select
import signal
import socket
import struct
import sys
import time

PORT = 6100
_PACKET = struct.Struct("!II")  # flow, number
_SO_RCVBUFFORCE = 33


def _pause_s(chooser: random.Random, flow: int, left: list[int]) -> float:
    """Until the flow's next packet. `left`: what each flow has left of its burst."""
    if flow % 5 == 0:
        return chooser.uniform(0.015, 0.025)
    if left[flow]:
        left[flow] -= 1
        return chooser.uniform(0.003, 0.008)
    left[flow] = chooser.randrange(3, 15)
    return chooser.uniform(0.020, 0.400)


def send(dest: str, flows: int, seconds: float, seed: int) -> None:
    chooser = random.Random(seed)
    socks = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(flows)]
    for sock in socks:
        sock.connect((dest, PORT))
    left, numbers = [0] * flows, [0] * flows
    begin_s = time.monotonic()
    due = [(begin_s + chooser.uniform(0, 0.2), flow) for flow in range(flows)]
    heapq.heapify(due)
    while due[0][0] < begin_s + seconds:
        wait_s = due[0][0] - time.monotonic()
        if wait_s > 0:
            time.sleep(wait_s)
        _, flow = heapq.heappop(due)
        socks[flow].send(_PACKET.pack(flow, numbers[flow]))
        numbers[flow] += 1
        # From now, not from when it was due: silences are never shorter than drawn.
        heapq.heappush(due, (time.monotonic() + _pause_s(chooser, flow, left), flow))
    print(json.dumps({"packets": sum(numbers)}), flush=True)


def receive(address: str) -> None:
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 16 << 20)
    sock.bind((address, PORT))
    print("ready", flush=True)
    highest: dict[int, int] = {}
    packets = late = 0
    while select.select([sock], [], [], 0.5)[0] or not stopped:
        try:
            data = sock.recv(64, socket.MSG_DONTWAIT)
        except BlockingIOError:
            continue
        flow, number = _PACKET.unpack(data)
        packets += 1
        late += number < highest.get(flow, -1)
        highest[flow] = max(number, highest.get(flow, -1))
    print(json.dumps({"packets": packets, "late": late, "flows": len(highest)}), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "send":
        send(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5]))
    else:
        receive(sys.argv[2])
