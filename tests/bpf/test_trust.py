"""The controller's side of handshakes: what it does to the maps, and when.

One end is `Trust` with the programs and maps, the other a `Handshakes` of its own. Time
is told; messages to us go through rx, ours are taken from the carrier.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from ipaddress import ip_address

import pytest

from mpbond import wire
from mpbond.config.model import LinkMode
from mpbond.connections import Wishes
from mpbond.controller.control import Control
from mpbond.controller.trust import LEAST_SILENCE_NS, MOST_RECEIVING, RETIRE_NS, WATCH_NS, Trust
from mpbond.handshake import Agreed, Handshakes, Send, Way
from mpbond.handshake_messages import Offer
from mpbond.identity import identity
from mpbond.layout import BondSpec, Layout, PathKey, PathSpec
from mpbond.sessions import SessionPair
from tests.bpf import packets, probes
from tests.bpf.packets import GATEWAY, LOCAL, framed, outer
from tests.bpf.rig import Bond, BondSetup, PathSetup, Rig
from tests.unit.handshakes import KEYS, NO_PSK, S, entropy
from tests.unit.host import peer

pytestmark = pytest.mark.root

OWN, OTHER = identity(KEYS[0]), identity(KEYS[1])
REKEY_NS = 120 * S
START_NS = 1000 * S


class Carrier:
    """Keeps what would be sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[Way, bytes]] = []

    def send(self, way: Way, data: bytes) -> bool:
        self.sent.append((way, data))
        return True

    def close(self) -> None:
        pass


@dataclass
class Pair:
    """`bond` is ours; `agreed` is what the other end has agreed on."""

    rig: Rig
    bond: Bond
    layout: Layout
    now_ns: int = START_NS
    agreed: list[Agreed] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    probed: list[int] = field(default_factory=list)
    wishes: list[Wishes] = field(default_factory=list)

    def start(self) -> None:
        """Our controller begins, for the first time or anew."""
        self.carrier = Carrier()
        self.trust = Trust(
            OWN,
            {OTHER.id: NO_PSK},
            self.rig.plane,
            self.carrier,  # type: ignore[arg-type]
            Control(self.rig.plane, self.carrier),  # type: ignore[arg-type]
            rekey_ns=REKEY_NS,
            say=self.said.append,
        )
        self.trust.serve(threading.RLock(), self.probed.append, self._take)
        self.trust.follow(self.layout, self.now_ns)

    def _take(self, bond: int, wishes: Wishes, now_ns: int, switch: Callable[[], None]) -> None:
        self.wishes.append(wishes)
        switch()

    def start_other(self) -> None:
        self.other = Handshakes(OTHER, entropy(5), rekey_ns=REKEY_NS)
        way = Way(1, packets.peer_address(4, 0), ip_address(LOCAL[4]), packets.PORT)
        self.other.put_peer(OWN.id, OWN.public, NO_PSK, Offer(3), (way,), self.now_ns)

    def work(self, *, other: bool = True) -> None:
        """Both ends do what is due and get what was sent, until there is nothing more."""
        pending = True
        while pending:
            self.trust.work(self.now_ns, self.now_ns)
            heard = [data for _, data in self.carrier.sent]
            self.carrier.sent.clear()
            answers = [self._hear(data) for data in heard] if other else []
            if other:
                answers.append(self._do(self.other.tick(self.now_ns, self.now_ns)))
            pending = any(answers)
        if (
            self.agreed
            and not self.agreed[-1].initiator
            and self.sending == self.agreed[-1].session.rx.number
        ):
            self.other.confirmed(OWN.id, self.now_ns)  # by our probes

    def _hear(self, data: bytes) -> bool:
        assert data[8:16] == self.other._receiver.tag, "for the other"
        way = next(iter(self.other._peers.values())).ways[0]
        return self._do(self.other.receive(data[wire.HEADER_LEN :], way, self.now_ns))

    def _do(self, actions: list[Agreed | Send]) -> bool:
        for action in actions:
            if isinstance(action, Agreed):
                self.agreed.append(action)
            else:
                payload = wire.bond_header(action.tag, 0, kind=wire.TYPE_HANDSHAKE) + action.body
                found = self.rig.run("rx_tc", framed(outer(4, payload)))
                assert found.reason == "rx_handshake"
        return bool(actions)

    def probe_from_other(self) -> None:
        """Under the newest session that it knows."""
        pair = self.agreed[-1].session
        mine = Bond(self.bond.setup, SessionPair(tx=pair.rx, rx=pair.tx))
        self.rig.run("rx_tc", probes.frame(mine, probes.Probe()))

    def later(self, ns: int) -> None:
        self.now_ns += ns

    @property
    def numbers(self) -> list[bytes]:
        return [one.number for one in self.rig.plane.sessions.receiving(0)]

    @property
    def sending(self) -> bytes:
        return self.rig.plane.sessions.sending(0)


def layout_of(rig: Rig) -> Layout:
    key = PathKey("wan0", ip_address(LOCAL[4]), packets.peer_address(4, 0), packets.PORT)
    path = PathSpec(
        key, 0, rig.lab.ifindex["wan0"], ip_address(GATEWAY[4]), LinkMode.PRIMARY, 0, 0, 1500, True, True
    )
    there = replace(peer(ident=OTHER.id), key=None, public_key=OTHER.public, num_connections=8)
    return Layout("mp0", packets.PORT, 1400, (), (), (BondSpec(0, there, (path,)),), ())


@pytest.fixture
def pair(rig: Rig) -> Iterator[Pair]:
    table = rig.plane.maps["handshake_next"]
    for key in table.all_keys():
        table.put(key, bytes(8))
    bond = rig.bond(BondSetup(paths=(PathSetup(4),)))
    rig.plane.sessions.remove_all(0)
    rig.plane.bonds["tx_session"][0] = 0
    rig.plane.paths_live["last_in_ns"] = 0
    made = Pair(rig, bond, layout_of(rig))
    made.start()
    yield made
    made.trust.close()


@pytest.fixture
def up(pair: Pair) -> Pair:
    """We began it: the other end came up first, and is silent."""
    pair.start_other()
    pair.work()
    assert pair.agreed and not pair.agreed[-1].initiator
    return pair


def test_who_began_sends_under_it_at_once_and_probes(up: Pair) -> None:
    theirs = up.agreed[-1].session
    assert up.sending == theirs.rx.number and up.numbers == [theirs.tx.number]
    assert up.probed == [0]
    assert up.said == [f"{OTHER.id}: session agreed"]


def test_who_answered_waits_until_it_is_heard(pair: Pair) -> None:
    pair.work(other=False)
    pair.later(2 * S)
    pair.start_other()
    pair._do(pair.other.tick(pair.now_ns, pair.now_ns))
    pair.work()
    assert pair.agreed[-1].initiator
    theirs = pair.agreed[-1].session
    assert pair.numbers == [theirs.tx.number] and pair.sending == bytes(8)
    pair.later(WATCH_NS)
    pair.work()
    assert pair.sending == bytes(8), "nothing was heard yet"
    pair.probe_from_other()
    pair.later(WATCH_NS)
    pair.work()
    assert pair.sending == theirs.rx.number


def test_what_is_listed(up: Pair) -> None:
    up.later(5 * S)
    state = up.trust.state(OTHER.id, up.now_ns)
    assert state is not None
    assert (state.age_ns, state.rekeys, state.tries, state.connections) == (5 * S, 0, 0, 8)
    assert up.trust.state("somebody", up.now_ns) is None
    assert up.trust.counts()["handshake_completed"] == 1


def test_renewed_when_due_and_the_old_one_received_for_a_while(up: Pair) -> None:
    up.probe_from_other()
    first = up.numbers
    up.later(REKEY_NS)
    up.work()
    assert len(up.numbers) == 2 and up.numbers[0] == first[0]
    state = up.trust.state(OTHER.id, up.now_ns)
    assert state is not None and state.rekeys == 1
    up.later(100 * S)
    up.work()
    assert len(up.numbers) == 2, "the new one was never heard: the peer may still use the old"
    up.probe_from_other()
    up.later(WATCH_NS * 100)
    up.work()
    assert len(up.numbers) == 2, "what is on its way still has the old"
    up.later(RETIRE_NS)
    up.work()
    assert up.numbers == [up.agreed[-1].session.tx.number]


def test_however_often_it_is_renewed_few_are_received(up: Pair) -> None:
    """And the one that was heard last is among them."""
    up.probe_from_other()
    up.later(WATCH_NS)
    up.work()
    heard = up.numbers[0]
    for _ in range(6):
        up.later(REKEY_NS)
        up.work()
        assert len(up.numbers) <= MOST_RECEIVING
        assert heard in up.numbers and up.agreed[-1].session.tx.number in up.numbers


def test_a_new_controller_goes_on(up: Pair) -> None:
    up.probe_from_other()
    before = (up.numbers, up.sending)
    up.later(50 * S)
    up.trust.close()
    up.start()
    up.work(other=False)
    assert (up.numbers, up.sending) == before
    state = up.trust.state(OTHER.id, up.now_ns)
    assert state is not None and state.age_ns == 50 * S


def test_a_new_controller_agrees_anew_as_control_keys_died_with_the_old(up: Pair) -> None:
    up.probe_from_other()
    before = (up.numbers, up.sending)
    up.later(50 * S)
    up.trust.close()
    up.start()
    up.work()
    assert up.sending == up.agreed[-1].session.rx.number != before[1]
    assert before[0][0] in up.numbers, "the old one is received under for a while"


def test_a_new_controller_without_a_session_begins(pair: Pair) -> None:
    pair.trust.close()
    pair.start()
    pair.start_other()
    pair.work()
    assert pair.sending == pair.agreed[-1].session.rx.number


def test_what_was_for_an_earlier_controller_is_not_read(pair: Pair) -> None:
    pair.trust.close()
    pair.start_other()
    pair._do(pair.other.tick(pair.now_ns, pair.now_ns))
    pair.start()
    pair.trust.work(pair.now_ns, pair.now_ns)
    assert pair.trust.counts()["handshake_answered"] == 0


def test_a_silent_peer_is_asked_anew(up: Pair) -> None:
    first = up.sending
    up.rig.plane.paths_live["last_in_ns"][up.bond.paths[0]] = up.now_ns
    up.later(LEAST_SILENCE_NS - S)
    up.work()
    assert up.sending == first
    up.later(7 * S)
    up.work()
    assert up.trust.next_due_ns() <= up.now_ns, "silent for 15 s, three failoverIntervals: begins"
    up.work()
    assert up.sending != first


def test_a_peer_that_goes_takes_nothing_in_any_more(up: Pair) -> None:
    up.trust.follow(replace(up.layout, bonds=()), up.now_ns)
    up.later(REKEY_NS)
    before = up.sending
    up.work(other=False)
    assert up.carrier.sent == [] and up.sending == before
    assert up.trust.state(OTHER.id, up.now_ns) is None


def test_a_peer_that_went_while_its_answer_was_on_the_way(pair: Pair) -> None:
    """Agreed on, but its bond is gone: nothing is put into the maps."""
    pair.start_other()
    pair.trust.work(pair.now_ns, pair.now_ns)
    for _, data in pair.carrier.sent:
        pair._hear(data)
    actions = []
    while taken := pair.trust._ring.take():
        actions += pair.trust._machine.receive(taken[0][wire.HEADER_LEN :], taken[1], pair.now_ns)
    assert any(isinstance(action, Agreed) for action in actions)
    pair.trust.follow(replace(pair.layout, bonds=()), pair.now_ns)
    pair.trust._perform(actions, pair.now_ns)
    assert pair.numbers == [] and pair.sending == bytes(8)


def receiving(pair: Pair) -> list[tuple[int, int]]:
    return [(one.connections, one.offered) for one in pair.rig.plane.sessions.receiving(0)]


def test_a_session_has_the_connections_that_were_agreed_on(up: Pair) -> None:
    """The other end wants 3, we want 8."""
    assert up.wishes == [Wishes(8, 3)] and up.wishes[0].agreed == 8
    assert receiving(up) == [(8, 8)]


def test_a_new_controller_that_wants_another_number_begins_at_once(up: Pair) -> None:
    up.probe_from_other()
    up.later(50 * S)
    up.trust.close()
    (bond,) = up.layout.bonds
    up.layout = replace(up.layout, bonds=(replace(bond, peer=replace(bond.peer, num_connections=1)),))
    up.start()
    up.work()
    assert up.wishes[-1] == Wishes(1, 3)
    assert receiving(up) == [(8, 8), (1, 1)], "what is on its way has the old one"


def test_replays_change_nothing(up: Pair) -> None:
    """Every message of the first handshake again, both ways, after the second."""
    up.probe_from_other()
    up.later(REKEY_NS)
    up.trust.work(up.now_ns, up.now_ns)
    ours = [data for _, data in up.carrier.sent]
    up.work()
    up.probe_from_other()
    up.later(WATCH_NS)
    up.work()
    before = (up.numbers, up.sending, len(up.agreed))
    for data in ours:
        up._hear(data)
        payload = wire.bond_header(up.trust._machine._receiver.tag, 0, kind=wire.TYPE_HANDSHAKE)
        up.rig.run("rx_tc", framed(outer(4, payload + data[wire.HEADER_LEN :])))
    up.trust.work(up.now_ns, up.now_ns)
    assert (up.numbers, up.sending, len(up.agreed)) == before
    assert up.trust.counts()["handshake_bad_mac1"] == len(ours), "reflected: made for the other"
