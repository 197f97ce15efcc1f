"""Control frames: what the controllers of the two ends tell each other. Pure.

What is sealed (see control_seal.py) is one of these; numbers are in network order:

    report  kind 1, format, part, parts, number, made, stall, base policy, lengths of
            name, version and path records, features, failoverInterval, then these
    ack     kind 2, format, the frame's path number, its report's number, its part

A report is an end's whole view, in as many parts as it takes; each fits into a frame.
A format of later versions may say more behind each of these, and is read as far as
this one goes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import IntEnum, IntFlag

from mpbond import abi
from mpbond.wire import HEADER_LEN

COUNTER_BYTES = 8
TAG_BYTES = 16
MAX_TEXT = abi.HANDSHAKE_MAX - HEADER_LEN - COUNTER_BYTES - TAG_BYTES
REPORT, ACK = 1, 2
_FORMAT = 1
_REPORT = struct.Struct("!BBBBIQIBBBBII")
_PATH = struct.Struct("!HBBIIII")
_ACK = struct.Struct("!BBHIB")
# Of a policy's name and of a version, in bytes; what is longer is cut.
MAX_NAME, MAX_VERSION = 63, 15
MOST_PARTS = abi.MAX_BOND_PATHS
_UNKNOWN = 0xFFFFFFFF
MAX_NUMBER = 0xFFFFFFFF

# What becomes of frames, by name.
REASONS = {
    "control_reports": "report taken, whole or a part of it",
    "control_acks": "the peer's word that a report of ours came",
    "control_failed": "control frame dropped: does not authenticate",
    "control_replayed": "control frame dropped: came before",
    "control_malformed": "control frame dropped: authentic, but of no form that is known",
    "control_no_key": "control frame dropped: of a session without a key here",
    "control_outdated": "control frame dropped: of a session before the newest in use",
    "control_sent": "control frames sent",
    "control_again": "control frames sent that were sent before, or over several paths at once",
    "control_unsent": "control frame not sent: the host refused",
}


class ControlError(Exception):
    """A frame that is not to be taken; `reason` is a key of REASONS."""

    def __init__(self, reason: str) -> None:
        super().__init__(REASONS[reason])
        self.reason = reason


class PathState(IntEnum):
    """As an end sees a path; health's words."""

    DOWN = 0
    WAITING = 1
    HELD = 2
    UP = 3
    LINK_DOWN = 4


class PathMark(IntFlag):
    """How an end uses a path."""

    NONE = 0
    SPARE = 1 << 0
    ELIGIBLE = 1 << 1
    CARRIES = 1 << 2


@dataclass(frozen=True, slots=True)
class PathReport:
    """One path by the reporter's number. What it measures, None where it does not yet:
    latency and variation of the round trip in us, losses on the way from it and errors on
    the way to it in millionths."""

    number: int
    state: int
    marks: PathMark
    latency_us: int | None = None
    pdv_us: int | None = None
    loss_ppm: int | None = None
    errors_ppm: int | None = None

    @property
    def state_name(self) -> str:
        """A state that this version does not know is shown as it is."""
        known = {state.value: state.name.lower().replace("_", " ") for state in PathState}
        return known.get(self.state, f"state {self.state}")


def policy_name(code: int) -> str:
    """A base policy; a code that this version does not know is shown as it is."""
    known = {policy.value: policy.name.lower().replace("_", "-") for policy in abi.PolicyCode}
    return known.get(code, f"policy {code}")


def policy_text(name: str, base: str) -> str:
    """A policy, with what it is based on where its name does not say so."""
    return name if name == base else f"{name} ({base})"


@dataclass(frozen=True, slots=True)
class View:
    """What an end has to say. `policy_code`: of its base policy."""

    policy: str
    policy_code: int
    version: str
    features: int
    failover_ms: int
    paths: tuple[PathReport, ...] = ()

    @property
    def essence(self) -> View:
        """Without measurements: a change of it is told at once."""
        bare = tuple(PathReport(path.number, path.state, path.marks) for path in self.paths)
        return replace(self, paths=bare)


@dataclass(frozen=True, slots=True)
class Report:
    """A part of a view. `number` grows with each report; `made_ns` is the sender's clock,
    and means something only beside that of another of its reports. `stall_us`: how much
    later than it should the sender has acted since the report before, at most."""

    number: int
    made_ns: int
    stall_us: int
    part: int
    parts: int
    view: View


@dataclass(frozen=True, slots=True)
class Ack:
    """`path`: the path number in the header of the frame that came, the receiver's own."""

    path: int
    number: int
    part: int

    def encode(self) -> bytes:
        return _ACK.pack(ACK, _FORMAT, self.path, self.number, self.part)


def _cut(text: str, most: int) -> bytes:
    """As UTF-8, no letter broken in two."""
    return text.encode()[:most].decode(errors="ignore").encode()


def _figure(value: int | None) -> int:
    return _UNKNOWN if value is None else max(0, min(value, _UNKNOWN - 1))


def _packed(path: PathReport) -> bytes:
    figures = (path.latency_us, path.pdv_us, path.loss_ppm, path.errors_ppm)
    return _PATH.pack(path.number, path.state, path.marks, *(_figure(value) for value in figures))


def encode(view: View, number: int, made_ns: int, stall_us: int = 0) -> list[bytes]:
    """The parts of a report; one at least. The rest as in Report."""
    name, version = _cut(view.policy, MAX_NAME), _cut(view.version, MAX_VERSION)
    room = (MAX_TEXT - _REPORT.size - len(name) - len(version)) // _PATH.size
    groups = [view.paths[at : at + room] for at in range(0, len(view.paths), room)] or [()]
    return [
        _REPORT.pack(
            *(REPORT, _FORMAT, part, len(groups), number, made_ns, _figure(stall_us)),
            *(view.policy_code, len(name), len(version), _PATH.size, view.features, view.failover_ms),
        )
        + name
        + version
        + b"".join(_packed(path) for path in group)
        for part, group in enumerate(groups)
    ]


def decode(text: bytes) -> Report | Ack:
    """Raises ControlError, and nothing else, for what is neither."""
    try:
        kind = text[0] if text else 0
        if kind == REPORT:
            return _report(text)
        if kind == ACK:
            _, _, path, number, part = _ACK.unpack_from(text)
            return Ack(path, number, part)
    except (struct.error, UnicodeDecodeError):
        raise ControlError("control_malformed") from None
    raise ControlError("control_malformed")


def _report(text: bytes) -> Report:
    _, _, part, parts, number, made_ns, stall_us, *rest = _REPORT.unpack_from(text)
    code, *lengths, features, failover_ms = rest
    name_len, version_len, record_len = lengths
    at = _REPORT.size + name_len + version_len
    names = text[_REPORT.size : at]
    if len(names) < name_len + version_len or record_len < _PATH.size or not part < parts <= MOST_PARTS:
        raise ControlError("control_malformed")
    policy, version = names[:name_len].decode(), names[name_len:].decode()
    # They are shown on terminals.
    if not (policy + version).isprintable():
        raise ControlError("control_malformed")
    paths = tuple(_paths(text[at:], record_len))
    view = View(policy, code, version, features, failover_ms, paths)
    return Report(number, made_ns, stall_us, part, parts, view)


def _paths(records: bytes, record_len: int) -> Iterator[PathReport]:
    if len(records) % record_len:
        raise ControlError("control_malformed")
    for at in range(0, len(records), record_len):
        number, state, marks, *figures = _PATH.unpack_from(records, at)
        known = [None if figure == _UNKNOWN else figure for figure in figures]
        yield PathReport(number, state, PathMark(marks), *known)
