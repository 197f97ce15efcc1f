"""The controller's side of connections: ports held, maps written, sessions taken."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest

from mpbond import abi
from mpbond.connections import MOST, PACE_NS, Wishes
from mpbond.controller.bond import BondState
from mpbond.controller.connecting import Connecting
from mpbond.controller.sourceports import SourcePorts
from mpbond.events import History
from mpbond.policies import Assignment
from tests.bpf.rig import Bond, BondSetup, PathSetup, Rig
from tests.bpf.test_trust import layout_of

pytestmark = pytest.mark.root


@dataclass
class Ours:
    """A bond with one path, and the connections of the controller."""

    rig: Rig
    bond: Bond
    state: BondState
    said: list[str] = field(default_factory=list)
    at_switch: list[int] = field(default_factory=list)

    def start(self) -> None:
        """For the first time or anew."""
        self.connecting = Connecting(self.rig.plane, History(self.said.append))
        self.connecting.follow({0: self.state})

    def take(self, here: int, there: int, now_ns: int = 0) -> None:
        """`at_switch`: how many connections there are as the session is taken."""
        self.connecting.take_session(
            0, Wishes(here, there), now_ns, lambda: self.at_switch.append(self.count)
        )

    @property
    def count(self) -> int:
        return int(self.rig.plane.paths["connections"][self.bond.paths[0]])

    @property
    def ports(self) -> list[int]:
        node = self.rig.plane.node[0]
        return [int(port) for port in node["source_port"][: int(node["source_ports"])]]


@pytest.fixture
def ours(rig: Rig) -> Iterator[Ours]:
    bond = rig.bond(BondSetup(paths=(PathSetup(),)))
    rig.plane.bonds["tx_session"][0] = 0
    state = BondState(layout_of(rig).bonds[0], rig.plane.block)
    state.respec(state.spec)
    made = Ours(rig, bond, state)
    made.start()
    yield made
    made.connecting.close()


def is_held(port: int, family: socket.AddressFamily) -> bool:
    with socket.socket(family, socket.SOCK_DGRAM) as other:
        if family == socket.AF_INET6:
            other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            other.bind(("", port))
        except OSError:
            return True
        return False


def test_one_connection_needs_no_port(ours: Ours) -> None:
    ours.take(0, 8)
    assert (ours.count, ours.ports) == (1, [])


def test_at_once_when_the_bond_begins_each_with_a_port(ours: Ours) -> None:
    ours.take(3, 5)
    assert (ours.at_switch, ours.count) == ([1], 5), "more than one only under the new session"
    ports = ours.ports
    assert ports[0] == int(ours.rig.plane.node["port"][0]) and len(set(ports)) == 5
    for port in ports[1:]:
        assert is_held(port, socket.AF_INET) and is_held(port, socket.AF_INET6)
    ours.connecting.close()
    assert not any(is_held(port, socket.AF_INET) for port in ports[1:])


def test_fewer_before_the_session_is_taken(ours: Ours) -> None:
    """The other end counts by sessions: it drops what is too much from then on."""
    ours.take(8, 8)
    ours.take(8, 1)
    assert (ours.at_switch, ours.count) == ([1, 1], 1)


def test_more_one_by_one(ours: Ours) -> None:
    ours.take(2, 2)
    ours.take(2, 4, now_ns=100)
    counts = []
    for step in range(1, 4):
        ours.connecting.tick(100 + step * PACE_NS)
        counts.append(ours.count)
    assert counts == [3, 4, 4]


def test_a_new_controller_keeps_ports_and_connections(ours: Ours) -> None:
    ours.take(4, 4)
    ours.rig.plane.sessions.receive_under(0, replace(ours.bond.pair.rx, number=b"anothers"), 5, connections=4)
    ours.rig.plane.bonds["tx_session"][0] = 77
    before = ours.ports
    ours.connecting.close()
    ours.start()
    assert (ours.count, ours.ports) == (4, before)
    assert all(is_held(port, socket.AF_INET) for port in before[1:])
    ours.take(4, 6, now_ns=1)
    assert ours.count == 4, "it is a change, no beginning"


def test_a_port_that_somebody_has_taken_meanwhile_is_replaced() -> None:
    first = SourcePorts()
    assert first.reserve(2)
    taken, kept = first.ports
    first.close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as somebody:
        somebody.bind(("", taken))
        again = SourcePorts([taken, kept])
        assert again.ports[0] != taken and again.ports[1] == kept
        again.close()


def test_wishes_in_vain_are_counted_and_told_once(ours: Ours) -> None:
    for _ in range(3):  # sessions are renewed
        ours.take(8, 1)
    assert ours.connecting.counts() == {"connections_refused": 0, "connections_denied": 7}
    ours.take(1, 200)
    assert ours.connecting.counts() == {"connections_refused": MOST - 1, "connections_denied": 7}
    assert sum("connections refused" in line for line in ours.said) == 2


def test_packets_on_surplus_connections_are_told_once(ours: Ours) -> None:
    ours.take(2, 2)
    ours.connecting.tick(0)
    assert ours.connecting.counts() == {"connections_refused": 0, "connections_denied": 0}
    ours.rig.plane.bonds_live["surplus"][0] = 5
    ours.rig.plane.paths_live["peer_marks"][ours.bond.paths[0]] = int(
        abi.PeerMark.VALID | abi.PeerMark.SURPLUS
    )
    ours.connecting.tick(1)
    ours.rig.plane.bonds_live["surplus"][0] = 9
    ours.connecting.tick(2)
    assert ours.connecting.counts() == {"connections_refused": 1, "connections_denied": 1}
    assert sum("connections refused" in line for line in ours.said) == 2


def test_the_path_for_metadata(ours: Ours) -> None:
    """Written when a path is eligible, kept while none is."""
    metadata = ours.rig.plane.bonds["metadata_path"]
    assert int(metadata[0]) == abi.NO_PATH
    (path,) = ours.bond.paths
    ours.state.assignment = Assignment((path,), 1)
    ours.connecting.assigned(ours.state, 0)
    assert int(metadata[0]) == path and ours.connecting.of_path(0, path) == (1, True)
    ours.state.assignment = Assignment((), 0)
    ours.connecting.assigned(ours.state, 0)
    assert int(metadata[0]) == path and ours.said == []
