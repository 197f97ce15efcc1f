"""bpf(2): objects by id, maps as values and as memory, test runs.

What bcc does not offer, or offers only to the process that compiled: a
controller that adopts running programs has nothing but their ids.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import platform
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from mpbond.errors import KernelError

_SYSCALL = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "armv7l": 386, "ppc64le": 361, "s390x": 351}
_libc = ctypes.CDLL(None, use_errno=True)

_MAP_LOOKUP, _MAP_UPDATE, _MAP_DELETE, _MAP_NEXT_KEY = 1, 2, 3, 4
_PROG_TEST_RUN = 10
_PROG_NEXT_ID, _MAP_NEXT_ID = 11, 12
_PROG_FD_BY_ID, _MAP_FD_BY_ID = 13, 14
_OBJ_INFO = 15
_MAP_LOOKUP_BATCH = 24


def _bpf(command: int, attr: bytes | ctypes.Array[ctypes.c_char]) -> int:
    buffer = ctypes.create_string_buffer(bytes(attr), len(attr)) if isinstance(attr, bytes) else attr
    result: int = _libc.syscall(_SYSCALL[platform.machine()], command, buffer, len(buffer))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _address(buffer: Any) -> int:
    return ctypes.addressof(buffer)


def _info(fd: int, size: int) -> bytes:
    data = ctypes.create_string_buffer(size)
    attr = struct.pack("=IIQ", fd, size, _address(data)).ljust(64, b"\0")
    _bpf(_OBJ_INFO, attr)
    return data.raw


@dataclass(frozen=True, slots=True)
class ProgramInfo:
    id: int
    name: str
    map_ids: tuple[int, ...]
    run_ns: int
    run_count: int


def program_fd(program_id: int) -> int:
    return _bpf(_PROG_FD_BY_ID, struct.pack("=III", program_id, 0, 0).ljust(64, b"\0"))


def program_info(fd: int) -> ProgramInfo:
    """What the kernel says of a program; two calls, as the map count comes first."""
    count = struct.unpack_from("=I", _info(fd, 232), 52)[0]
    ids = (ctypes.c_uint32 * max(count, 1))()
    data = ctypes.create_string_buffer(232)
    struct.pack_into("=IQ", data, 52, count, _address(ids))
    _bpf(_OBJ_INFO, struct.pack("=IIQ", fd, len(data), _address(data)).ljust(64, b"\0"))
    program_id = struct.unpack_from("=I", data, 4)[0]
    name = data.raw[64:80].split(b"\0")[0].decode()
    run_ns, run_count = struct.unpack_from("=QQ", data, 192)
    return ProgramInfo(program_id, name, tuple(ids[:count]), run_ns, run_count)


def _ids(command: int) -> Iterator[int]:
    last = 0
    while True:
        attr = ctypes.create_string_buffer(struct.pack("=III", last, 0, 0).ljust(64, b"\0"), 64)
        try:
            _bpf(command, attr)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return
            raise
        last = struct.unpack_from("=I", attr.raw, 4)[0]
        yield last


def program_ids() -> Iterator[int]:
    return _ids(_PROG_NEXT_ID)


def map_ids() -> Iterator[int]:
    return _ids(_MAP_NEXT_ID)


@dataclass(frozen=True, slots=True)
class TestRun:
    """`duration_ns` is the mean of all repeats; `data` what the packet became."""

    __test__ = False
    retval: int
    duration_ns: int
    data: bytes


# The leading fields of struct __sk_buff that a test run takes, with offsets.
_SKB_FIELDS = {
    "mark": 8,
    "priority": 32,
    "ingress_ifindex": 36,
    "ifindex": 40,
    "gso_segs": 164,
    "gso_size": 176,
}
_SKB_SIZE = 192


def skb_context(**fields: int) -> bytes:
    """A struct __sk_buff for `test_run(context=...)`."""
    context = bytearray(_SKB_SIZE)
    for name, value in fields.items():
        struct.pack_into("=I", context, _SKB_FIELDS[name], value)
    return bytes(context)


def test_run(fd: int, data: bytes, *, repeat: int = 1, context: bytes = b"", room: int = 256) -> TestRun:
    """BPF_PROG_TEST_RUN of one packet. Raises OSError."""
    packet = ctypes.create_string_buffer(data, len(data))
    out = ctypes.create_string_buffer(len(data) + room)
    ctx = ctypes.create_string_buffer(context, len(context)) if context else None
    attr = ctypes.create_string_buffer(
        struct.pack(
            "=IIIIQQIIIIQQIII",
            fd,
            0,
            len(packet),
            len(out),
            _address(packet),
            _address(out),
            repeat,
            0,
            len(context),
            0,
            _address(ctx) if ctx is not None else 0,
            0,
            0,
            0,
            0,
        ).ljust(80, b"\0"),
        80,
    )
    _bpf(_PROG_TEST_RUN, attr)
    retval, _, size = struct.unpack_from("=III", attr.raw, 4)
    duration = struct.unpack_from("=I", attr.raw, 36)[0]
    return TestRun(retval, duration, out.raw[:size])


test_run.__test__ = False  # type: ignore[attr-defined]


class PreparedRun:
    """A test run prepared once and repeated: nothing is allocated per run. What is
    written into `data` between runs is the next run's packet."""

    def __init__(self, fd: int, data: bytearray, context: bytes = b"") -> None:
        self._packet = (ctypes.c_char * len(data)).from_buffer(data)
        self._context = ctypes.create_string_buffer(context, len(context)) if context else None
        pointer = _address(self._context) if self._context is not None else 0
        head = (fd, 0, len(data), 0, _address(self._packet), 0, 1, 0, len(context), 0, pointer)
        self._attr = ctypes.create_string_buffer(struct.pack("=IIIIQQIIIIQ", *head).ljust(80, b"\0"), 80)

    def run(self, repeat: int = 1) -> int:
        """Mean duration of the repeats in ns, by the kernel's timer."""
        struct.pack_into("=I", self._attr, 32, repeat)
        _bpf(_PROG_TEST_RUN, self._attr)
        duration_ns: int = struct.unpack_from("=I", self._attr, 36)[0]
        return duration_ns


class Map:
    """One map by its fd, which it owns."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        info = _info(fd, 88)
        self.type, self.id, self.key_size, self.value_size, self.max_entries = struct.unpack_from(
            "=IIIII", info
        )
        self.name = info[24:40].split(b"\0")[0].decode()

    @classmethod
    def by_id(cls, map_id: int) -> Map:
        return cls(_bpf(_MAP_FD_BY_ID, struct.pack("=III", map_id, 0, 0).ljust(64, b"\0")))

    def _call(self, command: int, key: bytes, value: Any, flags: int = 0) -> int:
        key_buffer = ctypes.create_string_buffer(key, len(key))
        pointer = _address(value) if value is not None else 0
        return _bpf(
            command, struct.pack("=IIQQQ", self.fd, 0, _address(key_buffer), pointer, flags).ljust(64, b"\0")
        )

    def get(self, key: bytes) -> bytes | None:
        value = ctypes.create_string_buffer(self.value_size)
        try:
            self._call(_MAP_LOOKUP, key, value)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return None
            raise
        return value.raw

    def put(self, key: bytes, value: bytes) -> None:
        try:
            self._call(_MAP_UPDATE, key, ctypes.create_string_buffer(value, len(value)))
        except OSError as error:
            raise KernelError(f"writing map {self.name}", error.errno or 0) from error

    def delete(self, key: bytes) -> None:
        """Gone already is fine."""
        try:
            self._call(_MAP_DELETE, key, None)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise KernelError(f"deleting from map {self.name}", error.errno or 0) from error

    def all_keys(self) -> list[bytes]:
        """All keys as of now; entries that go meanwhile may be missing."""
        found: list[bytes] = []
        following = ctypes.create_string_buffer(self.key_size)
        pointer = 0
        while True:
            attr = struct.pack("=IIQQQ", self.fd, 0, pointer, _address(following), 0).ljust(64, b"\0")
            try:
                _bpf(_MAP_NEXT_KEY, attr)
            except OSError as error:
                if error.errno == errno.ENOENT:
                    return found
                raise
            found.append(following.raw)
            current = ctypes.create_string_buffer(following.raw, self.key_size)
            pointer = _address(current)

    def values(self, dtype: np.dtype[Any], batch: int = 8192) -> np.ndarray[Any, Any]:
        """All values of a hash map, fetched in batches: for listings, not for a loop."""
        parts: list[np.ndarray[Any, Any]] = []
        keys = ctypes.create_string_buffer(batch * self.key_size)
        values = ctypes.create_string_buffer(batch * self.value_size)
        cursor = ctypes.create_string_buffer(max(self.key_size, 8))
        first = True
        while True:
            attr = ctypes.create_string_buffer(
                struct.pack(
                    "=QQQQIIQQ",
                    0 if first else _address(cursor),
                    _address(cursor),
                    _address(keys),
                    _address(values),
                    batch,
                    self.fd,
                    0,
                    0,
                ).ljust(64, b"\0"),
                64,
            )
            ended = False
            try:
                _bpf(_MAP_LOOKUP_BATCH, attr)
            except OSError as error:
                if error.errno != errno.ENOENT:
                    raise KernelError(f"reading map {self.name}", error.errno or 0) from error
                ended = True
            count = struct.unpack_from("=I", attr.raw, 32)[0]
            parts.append(np.frombuffer(values.raw[: count * self.value_size], dtype=dtype))
            first = False
            if ended:
                return np.concatenate(parts)

    def memory(self, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
        """An mmap-able array as a writable numpy array: no system call per access."""
        stride = (self.value_size + 7) // 8 * 8
        if dtype.itemsize != stride:
            raise KernelError(
                f"mapping {self.name}: values of {stride} bytes", errno.EINVAL, str(dtype.itemsize)
            )
        region = mmap.mmap(
            self.fd, stride * self.max_entries, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE
        )
        return np.frombuffer(region, dtype=dtype)

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
