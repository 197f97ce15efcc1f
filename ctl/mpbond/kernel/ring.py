"""The ring of handshake messages that rx hands to the controller.

A BPF ring buffer, as the kernel has it (Documentation/bpf/ringbuf.rst): one page with
the reader's position, one with the writers', then the data twice in a row, so that no
record is ever broken in two.
"""

from __future__ import annotations

import mmap
import struct

import numpy as np

from mpbond import abi
from mpbond.config.model import Address
from mpbond.handshake import Way
from mpbond.kernel.bpf import Map
from mpbond.kernel.entries import unpacked

_BUSY, _DISCARDED = 1 << 31, 1 << 30
_RECORD_HEADER = 8
_POSITION = struct.Struct("=Q")
_LENGTH = struct.Struct("=I")


class HandshakeRing:
    """`fd` becomes readable when a message comes. One reader."""

    def __init__(self, found: Map) -> None:
        self.fd = found.fd
        self._size = found.max_entries
        self._reader = mmap.mmap(found.fd, mmap.PAGESIZE, mmap.MAP_SHARED)
        self._writers = mmap.mmap(
            found.fd,
            mmap.PAGESIZE + 2 * self._size,
            mmap.MAP_SHARED,
            mmap.PROT_READ,
            offset=mmap.PAGESIZE,
        )

    def take(self) -> tuple[bytes, Way] | None:
        """The oldest message, from the bond header on, and the way it came; None where
        there is none."""
        while (at := _POSITION.unpack_from(self._reader)[0]) < _POSITION.unpack_from(self._writers)[0]:
            start = mmap.PAGESIZE + at % self._size
            word = _LENGTH.unpack_from(self._writers, start)[0]
            if word & _BUSY:
                return None
            length = word & ~_DISCARDED
            data = self._writers[start + _RECORD_HEADER : start + _RECORD_HEADER + length]
            _POSITION.pack_into(self._reader, 0, at + (_RECORD_HEADER + length + 7) // 8 * 8)
            if not word & _DISCARDED:
                return _parsed(data)
        return None

    def close(self) -> None:
        """The map's own file descriptor is its owner's."""
        self._reader.close()
        self._writers.close()


def _parsed(data: bytes) -> tuple[bytes, Way]:
    record = np.frombuffer(data, abi.HANDSHAKE, 1)[0]

    def address(field: str) -> Address:
        return unpacked(int(record["family"]), bytes(record[field]))

    way = Way(int(record["ifindex"]), address("local"), address("remote"), int(record["port"]))
    return bytes(record["message"][: int(record["len"])]), way
