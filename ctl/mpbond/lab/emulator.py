"""Emulated wires, seen from the lab: start a relay, tell it what to do, read its log.

Where the lab has `netem` make the impairments instead (it is much faster, but keeps
no log), the words for `tc` come from here too.
"""

from __future__ import annotations

import array
import ctypes
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from mpbond.errors import BondError
from mpbond.kernel import ethtool
from mpbond.lab.relay import DIRECTIONS, RECORD, address_of
from mpbond.lab.schedule import VERDICTS, Impairment

# Which emulator a lab uses; "auto": netem where the kernel has it.
KINDS = ("auto", "netem", "relay")
DEFAULT_SEED = "1"

# relay.RECORD. `bit` is which bit of the frame was flipped, or -1.
RECORD_DTYPE = np.dtype(
    {
        "names": ["in_ns", "due_ns", "out_ns", "length", "bit", "way", "verdict"],
        "formats": ["i8", "i8", "i8", "u4", "i4", "u1", "u1"],
        "offsets": [0, 8, 16, 24, 28, 32, 33],
        "itemsize": RECORD.size,
    }
)
_ANSWER_S = 5.0
_CLONE_NEWNET = 0x40000000
_WAYS = {"a->b": [0], "b->a": [1], "both": [0, 1]}
# So that a wire sees packets as a real one does: cut to size, checksums filled in.
_OFFLOADS = frozenset(
    {
        *("tx-checksum-ipv4", "tx-checksum-ipv6", "tx-checksum-ip-generic", "tx-checksum-sctp"),
        *("tx-generic-segmentation", "tx-gso-list", "tx-gso-partial"),
        *("tx-tcp-segmentation", "tx-tcp-ecn-segmentation", "tx-tcp-mangleid-segmentation"),
        *("tx-tcp6-segmentation", "tx-tcp-accecn-segmentation", "tx-udp-segmentation"),
        *("tx-udp_tnl-segmentation", "tx-udp_tnl-csum-segmentation", "tx-tunnel-remcsum-segmentation"),
        *("tx-gre-segmentation", "tx-gre-csum-segmentation", "tx-sctp-segmentation"),
        *("tx-ipxip4-segmentation", "tx-ipxip6-segmentation", "tx-esp-segmentation"),
    }
)
# netem counts packets, and holds those on their way too: room for 1 Gbit/s and a second.
_NETEM_LIMIT = 100_000
_FRAME_BITS = 8 * 1514

Result = TypeVar("Result")


class EmulatorError(BondError):
    """A wire's emulator does not answer, or cannot do what was asked."""


@dataclass(slots=True)
class EmulationLog:
    """What the emulator did; filled when the block that records it ends. Times are
    CLOCK_REALTIME ns, `out_ns` 0 for what never left. Packets on their way when it
    ended are not in it. `missed`: lost by the emulator itself, for want of time."""

    records: npt.NDArray[np.void] = field(default_factory=lambda: np.zeros(0, RECORD_DTYPE))
    missed: int = 0

    def of(self, direction: str, verdict: str | None = None) -> npt.NDArray[np.void]:
        """The records of one direction in order of arrival, all or those with one of
        VERDICTS."""
        mine = self.records[self.records["way"] == DIRECTIONS.index(direction)]
        if verdict is not None:
            mine = mine[mine["verdict"] == VERDICTS.index(verdict)]
        return np.sort(mine, order="in_ns", kind="stable")

    def delays_ms(self, direction: str) -> npt.NDArray[np.float64]:
        """Of each packet that passed: how long it was held, queue included."""
        passed = self.of(direction, "passed")
        delays: npt.NDArray[np.float64] = (passed["out_ns"] - passed["in_ns"]) / 1e6
        return delays

    def summary(self) -> list[str]:
        """A line for each direction, and one for what the emulator itself lost."""
        lines = []
        for direction in DIRECTIONS:
            delays = self.delays_ms(direction)
            words = [f"{len(delays)} passed"]
            dropped = ((verdict, len(self.of(direction, verdict))) for verdict in VERDICTS[1:])
            words += [f"{count} dropped: {verdict}" for verdict, count in dropped if count]
            if len(delays):
                words.append(f"held for {delays.mean():.3f} ms (standard deviation {delays.std():.3f})")
            if damaged := int((self.of(direction, "passed")["bit"] >= 0).sum()):
                words.append(f"{damaged} damaged")
            lines.append(f"{direction}: {', '.join(words)}")
        return [*lines, f"missed by the emulator: {self.missed}"] if self.missed else lines

    def write_csv(self, file: Path) -> None:
        """One line for each packet, with names instead of numbers."""
        names = ("in_ns", "due_ns", "out_ns", "length", "bit")
        lines = [",".join(("direction", "verdict", *names))]
        for record in self.records:
            numbers = (str(record[name]) for name in names)
            lines.append(",".join((DIRECTIONS[record["way"]], VERDICTS[record["verdict"]], *numbers)))
        file.write_text("\n".join(lines) + "\n")


def in_namespace(name: str, function: Callable[[], Result]) -> Result:
    """What `function` returns when it runs in a network namespace: in a thread of its
    own, as a namespace is a thread's. Sockets it makes stay of that namespace."""
    results: list[Result] = []
    errors: list[Exception] = []

    def enter() -> None:
        try:
            with Path("/run/netns", name).open() as file:
                if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), _CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            results.append(function())
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def as_on_a_real_wire(namespace: str, ifname: str) -> None:
    """Turns off what a veth leaves undone when its packets only stay in the kernel."""
    in_namespace(namespace, lambda: ethtool.turn_features(ifname, _OFFLOADS, on=False))


# ---- the relay ------------------------------------------------------------------------


def relay_argv(wire: str, mtu: int, ifnames: Sequence[str]) -> list[str]:
    """`ifnames`: the wire's ends in the middle, a and b."""
    return [sys.executable, "-m", "mpbond.lab.relay", wire, str(mtu), DEFAULT_SEED, *ifnames]


def wait_ready(wire: str, relay: subprocess.Popen[str]) -> None:
    """Until a relay that was just started works. Raises EmulatorError with its last
    words if it ended instead."""
    if relay.stdout is None or relay.stdout.readline().strip() != "ready":
        relay.kill()
        raise EmulatorError(f"the emulator of {wire}: {relay.communicate()[1].strip()}")


def ask(namespace: str, wire: str, request: dict[str, Any]) -> tuple[dict[str, Any], list[int]]:
    """Sends a request to a wire's relay: its answer, and files that came with it."""
    try:
        with in_namespace(namespace, lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as asker:
            asker.settimeout(_ANSWER_S)
            asker.bind("")
            asker.connect(address_of(wire))
            asker.send(json.dumps(request).encode())
            data, ancillary, _, _ = asker.recvmsg(1 << 16, socket.CMSG_SPACE(4))
    except (ConnectionError, TimeoutError, FileNotFoundError) as error:
        raise EmulatorError(f"the emulator of {wire} does not answer: has it died? ({error})") from error
    fds = array.array("i")
    for _, _, passed in ancillary:
        fds.frombytes(passed)
    answer: dict[str, Any] = json.loads(data)
    return answer, list(fds)


def ways(direction: str) -> list[int]:
    """The directions that `both`, `a->b` or `b->a` names, by their numbers."""
    if direction not in _WAYS:
        raise EmulatorError(f"direction {direction!r}: wanted one of {', '.join(_WAYS)}")
    return _WAYS[direction]


def emulate_request(direction: str, impairment: Impairment, seed: int | None) -> dict[str, Any]:
    return {
        "do": "emulate",
        "ways": ways(direction),
        "impairment": asdict(impairment),
        "seed": None if seed is None else str(seed),
    }


def gate_request(direction: str, *, is_cut: bool = False, lose: float = 0.0) -> dict[str, Any]:
    return {"do": "gate", "ways": ways(direction), "is_cut": is_cut, "lose": lose}


def shape_request(rate_mbit: float, queue_ms: float) -> dict[str, Any]:
    shape = Impairment(rate_mbit=rate_mbit, queue_ms=queue_ms)
    return {"do": "shape", "ways": ways("both"), "rate_mbit": shape.rate_mbit, "queue_ms": shape.queue_ms}


def start_log(namespace: str, wire: str) -> None:
    ask(namespace, wire, {"do": "log", "on": True})


def stop_log(namespace: str, wire: str, log: EmulationLog) -> None:
    """Ends the recording and fills `log`."""
    answer, fds = ask(namespace, wire, {"do": "log", "on": False})
    for fd in fds:
        with os.fdopen(fd, "rb") as file:
            file.seek(0)
            log.records = np.frombuffer(file.read(), RECORD_DTYPE)
    log.missed = answer["missed"]


# ---- netem ----------------------------------------------------------------------------


def netem_words(to: Impairment, seed: int | None = None) -> Sequence[str]:
    """The same for netem, after `tc qdisc replace dev X root handle 1:`."""
    if seed is not None:
        raise EmulatorError("a seed: netem draws as it likes, take the relay")
    words = ["netem", "limit", str(_netem_limit(to))]
    if to.delay_ms or to.jitter_ms:
        words += ["delay", f"{to.delay_ms * 1000:.0f}us"]
    if to.jitter_ms:
        words += [f"{to.jitter_ms * 1000:.0f}us", "distribution", "normal"]
    # Without a delay there is nothing to skip; tc refuses it.
    if to.reorder and to.delay_ms:
        words += ["reorder", f"{to.reorder:g}%"]
    if to.loss:
        words += ["loss", f"{to.loss:g}%"]
    if to.corrupt:
        words += ["corrupt", f"{to.corrupt:g}%"]
    if to.rate_mbit:
        words += ["rate", f"{to.rate_mbit * 1e6:.0f}bit"]
    return words


def _netem_limit(to: Impairment) -> int:
    if not to.rate_mbit:
        return _NETEM_LIMIT
    held_ms = to.queue_ms + to.delay_ms + 4 * to.jitter_ms
    return max(1, min(_NETEM_LIMIT, round(to.rate_mbit * 1000 * held_ms / _FRAME_BITS)))
