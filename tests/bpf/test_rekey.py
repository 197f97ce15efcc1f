"""Sessions that take over from each other, packet by packet."""

from __future__ import annotations

import pytest

from mpbond import wire
from mpbond.sessions import from_keys
from tests.bpf import probes
from tests.bpf.packets import data, ether, reply4, tcp4
from tests.bpf.rig import Bond, BondSetup, PathSetup, Rig

pytestmark = pytest.mark.root

NEW = from_keys(b"\1" * 32, b"\2" * 32)
NEWER = from_keys(b"\3" * 32, b"\4" * 32)


@pytest.fixture
def bond(rig: Rig) -> Bond:
    return rig.bond(BondSetup(paths=(PathSetup(4), PathSetup(6))))


def sent_under(rig: Rig) -> bytes:
    """The session number of a data packet."""
    out = rig.run("tx", ether(tcp4()))
    assert out.reason == "tx_sent"
    header = 14 + (20 if out.data[14] >> 4 == 4 else 40) + 8
    return out.data[header + wire.HEADER_LEN - 8 : header + wire.HEADER_LEN]


def test_data_goes_out_under_the_session_in_use(rig: Rig, bond: Bond) -> None:
    sessions = rig.plane.sessions
    assert sent_under(rig) == bond.pair.tx.number
    for pair in (NEW, NEWER, bond.pair):
        sessions.send_under(bond.index, pair.tx)
        assert sessions.sending(bond.index) == pair.tx.number
        assert sent_under(rig) == pair.tx.number


def test_answers_are_signed_with_the_session_in_use(rig: Rig, bond: Bond) -> None:
    for pair in (NEW, NEWER):
        rig.plane.sessions.send_under(bond.index, pair.tx)
        out = rig.run("rx_tc", probes.frame(bond, probes.Probe()))
        assert out.reason == "rx_probe_answered"
        assert probes.parse(out.data[42:], pair.tx).kind == wire.TYPE_ANSWER


def test_old_and_new_are_received_until_the_old_is_forgotten(rig: Rig, bond: Bond) -> None:
    sessions = rig.plane.sessions
    sessions.receive_under(bond.index, NEW.rx, 5)
    for number in (bond.pair.rx.number, NEW.rx.number):
        assert rig.run("rx_tc", data(4, number, reply4())).reason == "rx_delivered"
    sessions.forget(bond.pair.rx.number)
    assert rig.run("rx_tc", data(4, bond.pair.rx.number, reply4())).reason == "rx_unknown_session"
    assert rig.run("rx_tc", data(4, NEW.rx.number, reply4())).reason == "rx_delivered"


def test_a_new_session_knows_the_peers_paths(rig: Rig, bond: Bond) -> None:
    """Or what comes before its first probe would be counted to no path: as lost."""
    rig.learn(bond)
    rig.plane.path_stats[bond.paths] = 0
    rig.plane.sessions.receive_under(bond.index, NEW.rx, 5, after=bond.pair.rx.number)
    assert rig.run("rx_tc", data(4, NEW.rx.number, reply4(), number=1)).reason == "rx_delivered"
    assert rig.path_packets(bond, "rx") == [0, 1]


def test_a_session_is_heard_when_a_probe_passes_its_check(rig: Rig, bond: Bond) -> None:
    sessions = rig.plane.sessions
    sessions.receive_under(bond.index, NEW.rx, 5)

    def heard() -> dict[bytes, bool]:
        return {one.number: one.heard for one in sessions.receiving(bond.index)}

    rig.run("rx_tc", data(4, NEW.rx.number, reply4()))
    forged = bytearray(probes.frame(Bond(bond.setup, NEW), probes.Probe()))
    forged[-1] ^= 1
    assert rig.run("rx_tc", bytes(forged)).reason == "rx_bad_mac"
    assert not any(heard().values())
    rig.run("rx_tc", probes.frame(Bond(bond.setup, NEW), probes.Probe()))
    assert heard() == {NEW.rx.number: True, bond.pair.rx.number: False}
    assert sessions.was_heard(NEW.rx.number)


def test_sessions_are_listed_by_age_and_go_with_their_bond(rig: Rig, bond: Bond) -> None:
    sessions = rig.plane.sessions
    other = rig.bond(BondSetup(index=1, paths=(), allowed=()))
    sessions.receive_under(bond.index, NEWER.rx, 9)
    sessions.receive_under(bond.index, NEW.rx, 5)
    listed = sessions.receiving(bond.index)
    assert [one.number for one in listed] == [bond.pair.rx.number, NEW.rx.number, NEWER.rx.number]
    assert [one.made_ns for one in listed] == [0, 5, 9]
    rig.plane.remove_bond(bond.index)
    assert sessions.receiving(bond.index) == []
    assert sessions.sending(bond.index) == bytes(8)
    assert len(sessions.receiving(other.index)) == 1


def test_putting_a_session_again_keeps_what_it_has_learnt(rig: Rig, bond: Bond) -> None:
    rig.learn(bond)
    before = rig.plane.maps["sessions"].get(bond.pair.rx.number)
    rig.plane.sessions.put(bond.index, bond.pair)
    assert rig.plane.maps["sessions"].get(bond.pair.rx.number) == before


def test_a_probe_before_there_is_a_session_to_answer_under(rig: Rig, bond: Bond) -> None:
    """Heard all the same: that is what the controller waits for."""
    rig.plane.bonds["tx_session"][bond.index] = 0
    assert rig.run("rx_tc", probes.frame(bond, probes.Probe())).reason == "rx_unanswerable"
    assert rig.plane.sessions.was_heard(bond.pair.rx.number)
