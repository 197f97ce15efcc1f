"""How large the maps are, and what else of this machine the programs are compiled for."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from mpbond.errors import KernelError

MAX_PATHS = 65_535
_CLOCK_MONOTONIC_COARSE = 6


def possible_cpus() -> int:
    """CPUs that may ever come up: the stride of per-CPU counters."""
    ranges = Path("/sys/devices/system/cpu/possible").read_text().strip().split(",")
    return max(int(part.split("-")[-1]) for part in ranges) + 1


def coarse_step_ns() -> int:
    """How far the kernel's coarse clock may be behind."""
    return round(time.clock_getres(_CLOCK_MONOTONIC_COARSE) * 1e9)


@dataclass(frozen=True, slots=True)
class Sizes:
    """Entries of the maps. `block`: paths reserved per bond."""

    bonds: int
    block: int
    flows: int
    prefixes: int

    def defines(self, cpus: int) -> dict[str, int]:
        return {
            "MPB_BONDS": self.bonds,
            "MPB_PATHS": self.bonds * self.block,
            "MPB_FLOWS": self.flows,
            "MPB_FLOW_CACHE": 1 << (self.flows - 1).bit_length(),
            "MPB_PREFIXES": self.prefixes,
            "MPB_CPUS": cpus,
            "MPB_COARSE_NS": coarse_step_ns(),
        }


def check_sizes(sizes: Sizes) -> None:
    if sizes.bonds * sizes.block > MAX_PATHS:
        raise KernelError(f"{sizes.bonds} peers of {sizes.block} paths: more than {MAX_PATHS} paths", 0)
