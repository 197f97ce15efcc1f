"""How much each slot of each bond carries, from counters of bytes. Pure.

A slot's rate rises at once and fades: a flow that stalls for a second because its
path is in trouble is still a flow.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mpbond.abi import SLOTS
from mpbond.rows import Floats, Rows, fresh_record

SECOND_NS = 1_000_000_000
# What is left of a rate a second after the traffic ended.
FADE = 0.5

_STATE = np.dtype([("seen", "?"), ("bytes", "<u8", SLOTS), ("bps", "<f4", SLOTS)])


class SlotRates(Rows):
    """`follow` the bonds; `update` when it is `due`, about once a second."""

    def __init__(self) -> None:
        super().__init__(fresh_record(_STATE))
        self._read_ns = 0

    def due(self, now_ns: int) -> bool:
        return now_ns - self._read_ns >= SECOND_NS

    def update(self, now_ns: int, counted: npt.NDArray[np.uint64]) -> None:
        """`counted` (bonds, 256): bytes so far. One that went back began anew."""
        state = self.state
        seconds = max((now_ns - self._read_ns) / SECOND_NS, 1e-3)
        more = (counted - state["bytes"]).astype(np.int64)
        more = np.where(state["seen"][:, np.newaxis] & (more > 0), more, 0)
        now_bps = (more * (8.0 / seconds)).astype(np.float32)
        np.maximum(state["bps"] * np.float32(FADE**seconds), now_bps, out=state["bps"])
        state["bytes"], state["seen"] = counted, True
        self._read_ns = now_ns

    def of(self, bond: int) -> Floats:
        """(256,) bit/s."""
        rates: Floats = self.state["bps"][self.row(bond)].astype(np.float64)
        return rates
