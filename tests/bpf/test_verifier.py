"""The verifier's effort: what a change to the programs may cost before it hurts."""

from __future__ import annotations

import struct

import pytest

from mpbond.kernel import bpf, build
from mpbond.kernel.dataplane import Dataplane
from tests.bpf.rig import SIZES

pytestmark = pytest.mark.root

# The kernel gives up at a million instructions walked. `tx` walks 45,000 of them,
# most in its take-overs; a tenth of the limit leaves room for other kernels and
# compilers and still loads in well under a second.
BUDGET = 100_000
_VERIFIED_INSNS_AT = 216  # in struct bpf_prog_info, kernel 5.16 and later


def verified_instructions(fd: int) -> int:
    count: int = struct.unpack_from("=I", bpf._info(fd, 232), _VERIFIED_INSNS_AT)[0]
    return count


@pytest.mark.parametrize("program", build.PROGRAMS)
def test_budget(plane: Dataplane, program: str) -> None:
    walked = verified_instructions(plane.programs[program])
    assert 0 < walked < BUDGET


@pytest.mark.parametrize("program", build.PROGRAMS)
def test_name(plane: Dataplane, program: str) -> None:
    """By which a controller to come finds it."""
    assert bpf.program_info(plane.programs[program]).name == program


def test_all_maps_are_there(plane: Dataplane) -> None:
    assert set(plane.maps) == set(build.MAPS)
    assert {name: found.name for name, found in plane.maps.items()} == {name: name for name in build.MAPS}
    assert plane.sizes == SIZES
