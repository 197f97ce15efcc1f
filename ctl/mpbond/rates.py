"""How much data goes out on each path, and how much of it the peer gets. Pure."""

from __future__ import annotations

import numpy as np

from mpbond.rows import Array, Bools, Floats, Ints, Rows, fresh_record
from mpbond.samples import JUMP, SECOND_NS, Sample

# A rate is the mean over this at least; and over no more than that, or it is not known.
RATE_NS = SECOND_NS // 2
RATE_MAX_NS = 60 * SECOND_NS

_STATE = np.dtype(
    [
        ("tx_packets", "<u8"),
        ("tx_bytes", "<u8"),
        ("tx_at_ns", "<i8"),
        ("packet_bits", "<f8"),
        ("sent_bps", "<f8"),
        ("received", "<u4"),
        ("answered_at_ns", "<u8"),
        ("delivered_bps", "<f8"),
    ]
)


class Rates(Rows):
    """`follow` the paths, `update` once a period; a path that is silent begins anew.

    `sent_bps`, `delivered_bps`: (n,) bit/s over half a second or more; `figure_ns`:
    (n,) when the figure of delivered_bps ends, another for each new one."""

    def __init__(self) -> None:
        super().__init__(fresh_record(_STATE, packet_bits=np.nan, sent_bps=np.nan, delivered_bps=np.nan))

    @property
    def sent_bps(self) -> Floats:
        return np.array(self.state["sent_bps"])

    @property
    def delivered_bps(self) -> Floats:
        return np.array(self.state["delivered_bps"])

    @property
    def figure_ns(self) -> Ints:
        return self.state["answered_at_ns"].astype(np.int64)

    def update(self, sample: Sample) -> None:
        self._sending(sample)
        self._delivery(sample)

    def _sending(self, sample: Sample) -> None:
        """What goes out, and how large a packet is on average."""
        state = self.state
        packets = (sample.tx_packets - state["tx_packets"]).astype(np.int64)
        bits = (sample.tx_bytes - state["tx_bytes"]).astype(np.int64) * 8.0
        over_ns = sample.now_ns - state["tx_at_ns"]
        anew = (state["tx_at_ns"] == 0) | (over_ns > RATE_MAX_NS) | (packets < 0) | (bits < 0)
        due = ~anew & (over_ns >= RATE_NS)
        state["sent_bps"] = _figures(state["sent_bps"], due, anew, bits * SECOND_NS, over_ns)
        state["packet_bits"] = _figures(state["packet_bits"], due & (packets > 0), anew, bits, packets)
        begins = due | anew
        state["tx_packets"] = np.where(begins, sample.tx_packets, state["tx_packets"])
        state["tx_bytes"] = np.where(begins, sample.tx_bytes, state["tx_bytes"])
        state["tx_at_ns"] = np.where(begins, sample.now_ns, state["tx_at_ns"])

    def _delivery(self, sample: Sample) -> None:
        """What the peer got, by its clock. It says how many packets: they are taken to
        be as large as those sent of late."""
        state = self.state
        packets = (sample.received_packets - state["received"]).astype(np.int64)
        over_ns = (sample.answered_at_ns - state["answered_at_ns"]).astype(np.int64)
        # A late answer sets the stamp back a little: not the end of the series.
        anew = (state["answered_at_ns"] == 0) | (over_ns > RATE_MAX_NS) | (packets >= JUMP)
        due = ~anew & (over_ns >= RATE_NS)
        bits = packets * np.where(packets > 0, state["packet_bits"], 0.0)
        state["delivered_bps"] = _figures(state["delivered_bps"], due, anew, bits * SECOND_NS, over_ns)
        begins = due | anew
        state["received"] = np.where(begins, sample.received_packets, state["received"])
        state["answered_at_ns"] = np.where(begins, sample.answered_at_ns, state["answered_at_ns"])


def _figures(before: Floats, due: Bools, anew: Bools, amount: Array, over: Array) -> Floats:
    """`amount` / `over` where it is due, nothing known where a count begins anew."""
    return np.where(due, amount / np.maximum(over, 1), np.where(anew, np.nan, before))
