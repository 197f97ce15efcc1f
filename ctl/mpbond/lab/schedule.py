"""What an emulated wire does with each packet: pure, and the same for the same seed.

A packet passes, in this order: the cut, the losses, the line with its queue, the
delay. The line sends at `rate_mbit` (whole frames, Ethernet header included) and
holds `queue_ms` of them; what finds it full is dropped. Then comes the delay, drawn
for each packet from a normal distribution with mean `delay_ms` and standard
deviation `jitter_ms`, cut off at zero: packets may overtake, as with netem. `reorder`
percent of the packets skip it. `corrupt` percent get one bit of their payload flipped.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, fields, replace

from mpbond.errors import UsageError

# What became of a packet; a log has these numbers.
VERDICTS = ("passed", "loss", "queue", "cut", "long", "unsent", "full")
PASSED, LOSS, QUEUE, CUT, LONG, UNSENT, FULL = range(len(VERDICTS))
# For `flip`: the packet stays as it is.
INTACT = -1.0

_RANGES = {
    "delay_ms": (0.0, 60_000.0),
    "jitter_ms": (0.0, 10_000.0),
    "loss": (0.0, 100.0),
    "rate_mbit": (0.001, 100_000.0),
    "queue_ms": (0.0, 60_000.0),
    "reorder": (0.0, 100.0),
    "corrupt": (0.0, 100.0),
}


@dataclass(frozen=True, slots=True)
class Impairment:
    """One direction of a wire; what is not given is not impaired. `loss`, `reorder`
    and `corrupt` are percentages of the packets, `rate_mbit` 0 is no limit."""

    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    loss: float = 0.0
    rate_mbit: float = 0.0
    queue_ms: float = 20.0
    reorder: float = 0.0
    corrupt: float = 0.0

    def __post_init__(self) -> None:
        for name in (found.name for found in fields(self)):
            value = getattr(self, name)
            least, most = _RANGES[name]
            if not (least <= value <= most or (name == "rate_mbit" and value == 0)):
                raise UsageError(f"{name} {value:g}: wanted {least:g} to {most:g}")


class Schedule:
    """One direction. Times are nanoseconds of whatever clock the caller has."""

    def __init__(self, seed: str) -> None:
        self.impairment = Impairment()
        self.is_cut = False
        self.lose = 0.0
        # When the line will have sent all that it has taken.
        self._free_ns = 0
        self.seed(seed)
        self._prepare()

    def seed(self, seed: str) -> None:
        """From here on the same draws for the same seed. Each kind has its own, so
        that which packets are lost does not depend on what else is impaired."""
        self._losses = random.Random(f"{seed} loss").random
        self._delays = random.Random(f"{seed} delay").gauss
        self._skips = random.Random(f"{seed} reorder").random
        self._flips = random.Random(f"{seed} corrupt").random

    def change(self, impairment: Impairment) -> None:
        """For packets that come from now on; those taken before keep their times."""
        self.impairment = impairment
        self._prepare()

    def shape(self, rate_mbit: float, queue_ms: float) -> None:
        """Rate and queue alone."""
        self.change(replace(self.impairment, rate_mbit=rate_mbit, queue_ms=queue_ms))

    def gate(self, *, is_cut: bool, lose: float) -> None:
        """A cut, and losses in percent, on top of the impairment's own."""
        self.is_cut, self.lose = is_cut, lose
        self._prepare()

    def _prepare(self) -> None:
        to = self.impairment
        self._loss = 1 - (1 - to.loss / 100) * (1 - self.lose / 100)
        self._ns_per_byte = 8000 / to.rate_mbit if to.rate_mbit else 0.0
        self._queue_ns = to.queue_ms * 1e6
        self._delay_ns, self._jitter_ns = to.delay_ms * 1e6, to.jitter_ms * 1e6
        self._skip, self._corrupt = to.reorder / 100, to.corrupt / 100

    def offer(self, now_ns: int, length: int) -> tuple[int, int, float]:
        """A packet of `length` bytes arrives: (verdict, when it leaves, flip). `flip`
        in 0..1 is where in the payload a bit is to be flipped, or INTACT."""
        if self.is_cut:
            return CUT, now_ns, INTACT
        if self._loss and self._losses() < self._loss:
            return LOSS, now_ns, INTACT
        due_ns = now_ns
        if self._ns_per_byte:
            waits_ns = max(0, self._free_ns - now_ns)
            sends_ns = int(length * self._ns_per_byte) + 1
            # An idle line takes any packet, however short its queue.
            if waits_ns and waits_ns + sends_ns > self._queue_ns:
                return QUEUE, now_ns, INTACT
            self._free_ns = due_ns = now_ns + waits_ns + sends_ns
        flip = INTACT
        if self._corrupt and self._flips() < self._corrupt:
            flip = self._flips()
        if self._skip and self._skips() < self._skip:
            return PASSED, due_ns, flip
        delay_ns = self._delay_ns
        if self._jitter_ns:
            delay_ns = max(0.0, self._delays(delay_ns, self._jitter_ns))
        return PASSED, due_ns + int(delay_ns), flip


def payload_at(frame: bytes) -> int:
    """Where the payload of an Ethernet frame starts: after the UDP header, after the
    IP header of anything else; 0 for what is not IP."""
    kind = frame[12:14]
    if kind == b"\x08\x00":
        start, protocol = 14 + 4 * (frame[14] & 15), frame[23]
    elif kind == b"\x86\xdd":
        start, protocol = 54, frame[20]
    else:
        return 0
    return start + 8 if protocol == 17 else start


def flipped(frame: bytes, flip: float) -> tuple[bytes, int]:
    """The frame with one bit of its payload flipped, and which, counted from the
    frame's start; itself and -1 where it has no payload."""
    start = payload_at(frame)
    if not 0 < start < len(frame):
        return frame, -1
    bit = 8 * start + int(flip * 8 * (len(frame) - start))
    damaged = bytearray(frame)
    damaged[bit // 8] ^= 1 << (bit % 8)
    return bytes(damaged), bit
