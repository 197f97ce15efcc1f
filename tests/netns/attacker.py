"""What an attacker does, run in the namespace of a host of a lab.

`attacker.py send DEST SECONDS PPS` reads a JSON list of UDP payloads (hex) and sends them
in turn to DEST's bond port, each from a random source in 198.18.0.0/15; it prints how
many it has sent. `attacker.py guess DEST COUNT` sends each under a random session number.
`attacker.py record SECONDS [TYPE...]` prints a JSON list of [destination, payload] of the
bond's packets of these types (handshake messages if none is given) that pass.
"""

from __future__ import annotations

import json
import random
import select
import socket
import struct
import sys
import time

BOND_PORT = 9944
_ETH_P_ALL = 3
_SOURCES = 0xC6120000  # 198.18.0.0/15: RFC 2544
_HANDSHAKE = 3
_SESSION_AT = 8
_BURST = 50


def packet(source: bytes, dest: bytes, payload: bytes) -> bytes:
    """IPv4, whose checksum the kernel fills in, and UDP without one."""
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28 + len(payload), 0, 0x4000, 64, 17, 0, source, dest)
    return head + struct.pack("!HHHH", BOND_PORT, BOND_PORT, 8 + len(payload), 0) + payload


def send(dest: str, seconds: float, pps: float) -> int:
    payloads = [bytes.fromhex(text) for text in json.load(sys.stdin)]
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    sources, to = _sources(), socket.inet_aton(dest)
    began, sent = time.monotonic(), 0
    while (passed := time.monotonic() - began) < seconds:
        while sent < passed * pps:
            for _ in range(_BURST):
                made = packet(sources[sent % len(sources)], to, payloads[sent % len(payloads)])
                raw.sendto(made, (dest, 0))
                sent += 1
        time.sleep(0.0005)
    return sent


def _sources() -> list[bytes]:
    return [struct.pack("!I", _SOURCES | random.getrandbits(17)) for _ in range(4096)]


def guess(dest: str, count: int) -> int:
    payloads = [bytes.fromhex(text) for text in json.load(sys.stdin)]
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    sources, to = _sources(), socket.inet_aton(dest)
    for sent in range(count):
        payload = payloads[sent % len(payloads)]
        tried = payload[:_SESSION_AT] + random.randbytes(8) + payload[_SESSION_AT + 8 :]
        raw.sendto(packet(sources[sent % len(sources)], to, tried), (dest, 0))
    return count


def record(seconds: float, kinds: set[int]) -> list[tuple[str, str]]:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ETH_P_ALL))
    print("ready", flush=True)
    until, found = time.monotonic() + seconds, []
    while (left := until - time.monotonic()) > 0:
        if not select.select([sock], [], [], left)[0]:
            break
        frame, (_, _, kind, *_) = sock.recvfrom(2048)
        is_ours = frame[12:14] == b"\x08\x00" and frame[23] == 17 and len(frame) > 42
        if kind != socket.PACKET_OUTGOING and is_ours and frame[42] & 0xF in kinds:
            found.append((socket.inet_ntoa(frame[30:34]), frame[42:].hex()))
    return found


if __name__ == "__main__":
    if sys.argv[1] == "send":
        print(send(sys.argv[2], float(sys.argv[3]), float(sys.argv[4])))
    elif sys.argv[1] == "guess":
        print(guess(sys.argv[2], int(sys.argv[3])))
    else:
        wanted = {int(kind) for kind in sys.argv[3:]} or {_HANDSHAKE}
        print(json.dumps(record(float(sys.argv[2]), wanted)))
