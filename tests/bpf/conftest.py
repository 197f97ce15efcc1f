"""One compiled data plane and one lab for all tests here; fresh maps for each."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest

from mpbond.kernel.dataplane import Dataplane
from tests.bpf import packets
from tests.bpf.lab import LINKS, Lab
from tests.bpf.rig import SIZES, Rig


@pytest.fixture(scope="session")
def plane() -> Iterator[Dataplane]:
    made = Dataplane.create(SIZES)
    yield made
    made.close()


@pytest.fixture(scope="session")
def lab(plane: Dataplane) -> Iterator[Lab]:
    made = Lab()
    made.attach(plane)
    for link, address in product(LINKS, packets.GATEWAY.values()):
        made.add_neighbour(address, packets.MAC_ROUTER, link)
    yield made
    made.close()


@pytest.fixture(scope="session")
def session_rig(plane: Dataplane, lab: Lab) -> Rig:
    return Rig(plane, lab)


@pytest.fixture
def rig(session_rig: Rig) -> Iterator[Rig]:
    """Empty maps, inside the lab's namespace, which ends with the test."""
    with session_rig.lab.entered():
        session_rig.reset()
        yield session_rig
