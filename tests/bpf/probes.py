"""Probes and answers as bytes, with MACs from the reference SipHash."""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass
from typing import Any

from mpbond import abi, sessions, wire
from tests.bpf import packets
from tests.bpf.rig import Bond, Rig
from tests.bpf.siphash_ref import siphash24

MAC_LEN = 8
MESSAGE_LEN = wire.HEADER_LEN + wire.PROBE_LEN
# Stamps are the clock's owner's business: ours are compared as u64, little-endian.
_BODY = struct.Struct("<QQ4s4s4s4s")


@dataclass(frozen=True, slots=True)
class Probe:
    """The fields behind the bond header; `kind` of the header."""

    kind: int = wire.TYPE_PROBE
    number: int = 0
    sequence: int = 1
    sent_stamp: int = 0x1111_2222_3333_4444
    answer_stamp: int = 0
    hold_us: int = 0
    sent_packets: int = 0
    received_packets: int = 0
    marks: int = 0
    connection: int = 0

    def message(self, session: sessions.Session) -> bytes:
        """Header, body and MAC."""
        numbers = (self.hold_us, self.sent_packets, self.received_packets, self.marks)
        fields = [number.to_bytes(4, "big") for number in numbers]
        counted = {"sequence": self.sequence, "connection": self.connection}
        signed = wire.bond_header(session.number, self.number, kind=self.kind, **counted)
        signed += _BODY.pack(self.sent_stamp, self.answer_stamp, *fields)
        return signed + siphash24(session.mac_key, signed)


def parse(message: bytes, session: sessions.Session) -> Probe:
    """Fails unless it is a whole message of the session with the right MAC."""
    assert len(message) == MESSAGE_LEN
    assert message[-MAC_LEN:] == siphash24(session.mac_key, message[:-MAC_LEN]), "MAC"
    first, flags, connection, number, sequence, found = struct.unpack_from("!BBBBI8s", message)
    assert (first >> 4, flags, found) == (wire.VERSION, 0, session.number)
    sent_stamp, answer_stamp, *fields = _BODY.unpack_from(message, wire.HEADER_LEN)
    hold_us, sent, received, marks = (int.from_bytes(raw, "big") for raw in fields)
    read = (number, sequence, sent_stamp, answer_stamp, hold_us, sent, received, marks, connection)
    return Probe(first & 0xF, *read)


def marks_of(bond: Bond, path: int | None = None) -> int:
    """What our probes and answers say of a path of ours; None: of one we know not."""
    spare = path is not None and bond.setup.paths[path].spare
    marks = abi.PeerMark.VALID | (abi.PeerMark.SPARE if spare else abi.PeerMark(0))
    return int(marks) | int(bond.setup.policy)


def stamp(rig: Rig, age_ns: int = 0) -> int:
    """One of ours, made `age_ns` ago."""
    return (time.monotonic_ns() - age_ns + int(rig.plane.node["stamp_offset"][0])) % 2**64


def frame(bond: Bond, probe: Probe, *, path: int = 0, family: int | None = None, **fields: Any) -> bytes:
    """`probe` from the peer, on the Ethernet of our path `path`."""
    found = bond.setup.paths[path].family if family is None else family
    payload = probe.message(bond.pair.rx)
    return packets.framed(packets.outer(found, payload, number=path, **fields))


def answer(
    rig: Rig, sequence: int = 1, *, age_ns: int = 0, number: int = 0, stamped: int = 77, marks: int = 0
) -> Probe:
    """The peer's answer to a probe that we sent `age_ns` ago."""
    return Probe(
        wire.TYPE_ANSWER,
        number,
        sequence,
        sent_stamp=stamp(rig, age_ns),
        answer_stamp=stamped,
        sent_packets=5,
        marks=marks,
    )
