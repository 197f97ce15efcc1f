"""A peer's address is learnt from its probes: which ones, and what tx does with it."""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass, replace
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Raw

from mpbond import abi, sessions, wire
from tests.bpf import packets, probes
from tests.bpf.packets import PORT, data, ether, reply4, reply6, tcp4
from tests.bpf.probes import Probe
from tests.bpf.rig import REDIRECT, SHOT, Bond, BondSetup, PathSetup, Rig
from tests.bpf.test_rx_probe import local_path

pytestmark = pytest.mark.root

AGREED = sessions.from_keys(b"\1" * 32, b"\2" * 32)
RENEWED = sessions.from_keys(b"\3" * 32, b"\4" * 32)
ELSEWHERE = {4: "203.0.113.77", 6: "2001:db8:cafe::77"}
THIRD = {4: "203.0.113.88", 6: "2001:db8:cafe::88"}
NEW_PORT = 40_001


@dataclass(slots=True)
class Scene:
    """A bond that has heard the peer once on each path, under a session of a handshake."""

    rig: Rig
    bond: Bond
    pair: sessions.SessionPair

    def probe(self, probe: Probe, *, path: int = 0, **fields: Any) -> str:
        """Of the peer's path `probe.number`, on the link of our `path`; what became of it."""
        family = self.bond.setup.paths[path].family
        payload = probe.message(self.pair.rx)
        frame = packets.framed(packets.outer(family, payload, number=path, **fields))
        return self.rig.run("rx_tc", frame).reason

    def goes_to(self) -> tuple[str, int]:
        """Address and port of tx's next packet, every byte of which is checked."""
        out = self.rig.run("tx", ether(tcp4()))
        assert (out.verdict, out.reason) == (REDIRECT, "tx_sent")
        outer = out.data[14:]
        if outer[0] >> 4 == 4:
            remote, port = str(IP(outer).dst), IP(outer)[UDP].dport
            head: Any = IP(src=packets.LOCAL[4], dst=remote, id=0, flags="DF", ttl=64)
        else:
            remote, port = str(IPv6(outer).dst), IPv6(outer)[UDP].dport
            head = IPv6(src=packets.LOCAL[6], dst=remote, hlim=64)
        number = struct.unpack_from("!H", outer, len(bytes(head)) + 8 + 2)[0]
        payload = wire.bond_header(self.pair.tx.number, number) + bytes(tcp4())
        wanted = bytes(head / UDP(sport=PORT, dport=port, chksum=0) / Raw(payload))
        assert outer.hex() == wanted.hex(), "lengths and checksum right"
        return remote, port

    @property
    def moves(self) -> list[int]:
        return [int(self.rig.plane.paths_live["moves"][path]) for path in self.bond.paths]


def scene(rig: Rig, *families: int, shared: bool = False) -> Scene:
    bond = rig.bond(BondSetup(paths=tuple(PathSetup(family) for family in families)))
    pair = bond.pair
    if not shared:
        pair = AGREED
        rig.plane.sessions.receive_under(bond.index, pair.rx, 5)
        rig.plane.sessions.send_under(bond.index, pair.tx)
    made = Scene(rig, bond, pair)
    for path in range(len(families)):
        assert made.probe(Probe(number=path, sequence=10), path=path) == "rx_probe_answered"
    assert made.moves == [0] * len(families)
    return made


def home(family: int) -> tuple[str, int]:
    return str(packets.peer_address(family, 0)), PORT


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("what", ["address", "port", "both"])
def test_a_newer_probe_moves_the_path(rig: Rig, family: int, what: str) -> None:
    """And the very next packet goes there."""
    at = scene(rig, family)
    assert at.goes_to() == home(family)
    fields: dict[str, Any] = {}
    fields |= {"src": ELSEWHERE[family]} if what != "port" else {}
    fields |= {"sport": NEW_PORT} if what != "address" else {}
    before = time.monotonic_ns()
    assert at.probe(Probe(sequence=11), **fields) == "rx_probe_answered"
    assert at.goes_to() == (fields.get("src", home(family)[0]), fields.get("sport", PORT))
    live = rig.plane.paths_live[at.bond.paths[0]]
    assert int(live["moves"]) == 1 and int(live["moved_at_ns"]) >= before
    assert int(live["last_in_ns"]) >= before, "noted on the path it moved"


@pytest.mark.parametrize("family", [4, 6])
def test_on_and_on_and_home_again(rig: Rig, family: int) -> None:
    at = scene(rig, family)
    for sequence, (address, port) in enumerate(
        [(ELSEWHERE, 1), (THIRD, 65_535), (ELSEWHERE, 2), (THIRD, 2), (packets.PEER, PORT)], 11
    ):
        at.probe(Probe(sequence=sequence), src=address[family], sport=port)
        assert at.goes_to() == (address[family], port)
    assert int(rig.plane.paths["moved"][at.bond.paths[0]]) == 0, "the header holds again"
    assert at.moves == [5]


def test_only_its_own_path_moves(rig: Rig) -> None:
    at = scene(rig, 4, 6, 4)
    at.probe(Probe(number=2, sequence=11), path=2, src=ELSEWHERE[4])
    assert at.moves == [0, 0, 1]


NOT_NEWER = [("the same again", 10), ("an older one, late", 9), ("one too old to tell", 10 - 64)]


@pytest.mark.parametrize("sequence", [case[1] for case in NOT_NEWER], ids=[case[0] for case in NOT_NEWER])
def test_what_is_not_newer_moves_nothing(rig: Rig, sequence: int) -> None:
    at = scene(rig, 4)
    found = at.probe(Probe(sequence=sequence % 2**32), src=ELSEWHERE[4])
    assert found == ("rx_probe_answered" if sequence == 9 else "rx_replayed")
    assert at.moves == [0] and at.goes_to() == home(4)


def test_a_delayed_probe_does_not_move_it_back(rig: Rig) -> None:
    at = scene(rig, 4)
    at.probe(Probe(sequence=12), src=ELSEWHERE[4])
    assert at.probe(Probe(sequence=11)) == "rx_probe_answered", "the one before, overtaken"
    assert at.goes_to() == (ELSEWHERE[4], PORT) and at.moves == [1]


def test_a_replay_from_anywhere_changes_nothing(rig: Rig) -> None:
    """Neither the path, nor what it is known by: a real move after it is followed."""
    at = scene(rig, 4, 4)
    live = rig.plane.paths_live[at.bond.paths[0]].tobytes()
    session = local_path(rig, Bond(at.bond.setup, at.pair))
    for path, source in ((0, ELSEWHERE[4]), (1, str(packets.peer_address(4, 1)))):
        assert at.probe(Probe(sequence=10), path=path, src=source) == "rx_replayed"
    assert rig.plane.paths_live[at.bond.paths[0]].tobytes() == live
    assert local_path(rig, Bond(at.bond.setup, at.pair)) == session
    at.probe(Probe(sequence=11), src=THIRD[4])
    assert at.goes_to()[0] in (THIRD[4], str(packets.peer_address(4, 1))) and at.moves == [1, 0]


@pytest.mark.parametrize("damaged", [0, 12, 20, 55], ids=["type", "session", "stamp", "MAC"])
def test_a_wrong_mac_moves_nothing(rig: Rig, damaged: int) -> None:
    at = scene(rig, 4)
    message = bytearray(Probe(sequence=11).message(at.pair.rx))
    message[damaged] ^= 0x40
    frame = packets.framed(packets.outer(4, bytes(message), src=ELSEWHERE[4]))
    assert rig.run("rx_tc", frame).verdict == SHOT
    assert at.moves == [0] and at.goes_to() == home(4)


@pytest.mark.parametrize("family", [4, 6])
def test_data_moves_nothing(rig: Rig, family: int) -> None:
    """It is taken, wherever it comes from."""
    at = scene(rig, family)
    inner = reply4() if family == 4 else reply6()
    got = rig.run("rx_tc", data(family, at.pair.rx.number, inner, src=ELSEWHERE[family], sport=NEW_PORT))
    assert got.reason == "rx_delivered"
    assert at.moves == [0] and at.goes_to() == home(family)


def test_answers_move_nothing(rig: Rig) -> None:
    at = scene(rig, 4)
    rig.plane.paths_live["probes_sent"][at.bond.paths[0]] = 1
    assert at.probe(probes.answer(rig), src=ELSEWHERE[4]) == "rx_answer_taken"
    assert at.moves == [0]


def test_the_peers_number_on_another_address_of_ours_is_another_path(rig: Rig) -> None:
    at = scene(rig, 4)
    assert at.probe(Probe(sequence=11), src=ELSEWHERE[4], dst="192.0.2.2") == "rx_probe_answered"
    assert at.moves == [0]
    far = rig.plane.fars[at.bond.paths[0]]
    assert bytes(far["remote"])[:4] == bytes([203, 0, 113, 77]) and far["at_ns"] > 0
    assert bytes(far["local"])[:4] == bytes([192, 0, 2, 2]) and int(far["port"]) == PORT
    assert (int(far["ifindex"]), int(far["family"])) == (rig.lab.ifindex["wan0"], abi.AF_INET)


def test_a_path_that_another_number_has_taken_over_is_left_alone(rig: Rig) -> None:
    """Number 0 came by path 0, then number 7 did: what 0 says now is no move of that path."""
    at = scene(rig, 4)
    at.probe(Probe(number=7, sequence=1))
    at.probe(Probe(number=0, sequence=11), src=ELSEWHERE[4])
    assert at.moves == [0]
    at.probe(Probe(number=7, sequence=2), src=THIRD[4])
    assert at.goes_to() == (THIRD[4], PORT)


def test_two_paths_that_swap_their_ports(rig: Rig) -> None:
    """As a NAT may, that forgot both: each is followed, neither stays on the other's."""
    at = scene(rig, 4, 4)
    first, second = (str(packets.peer_address(4, number)) for number in (0, 1))
    at.probe(Probe(number=0, sequence=11), src=second)
    at.probe(Probe(number=1, sequence=11), src=first, path=1)
    assert at.moves == [1, 1]
    places = {bytes(rig.plane.paths_live["moved"][path][0]["address"])[:4] for path in at.bond.paths}
    assert len(places) == 2


def test_a_path_made_anew_at_the_peer_has_another_address(rig: Rig) -> None:
    """Its probes are numbered on, so the first one moves the path."""
    plane = rig.plane
    bond = rig.bond(BondSetup(paths=(PathSetup(4),)))
    plane.paths_live["probes_sent"][bond.paths[0]] = 500
    plane.remove_path(bond.entries[0], last_of_local=True)
    plane.put_path(bond.entries[0])
    assert int(plane.paths_live["probes_sent"][bond.paths[0]]) == 500
    assert int(plane.paths_live["rtt_count"][bond.paths[0]]) == 0


def test_a_renewed_session_counts_from_anywhere(rig: Rig) -> None:
    """And what is still on its way under the old one moves nothing back."""
    at = scene(rig, 4)
    rig.plane.sessions.receive_under(at.bond.index, RENEWED.rx, 9, AGREED.rx.number)
    new = Scene(rig, at.bond, RENEWED)
    new.probe(Probe(sequence=3), src=ELSEWHERE[4])
    assert at.moves == [1]
    assert at.probe(Probe(sequence=11)) == "rx_probe_answered"
    assert at.moves == [1]


# ---- under a shared key, where a session lasts for ever ---------------------------------


def test_shared_key_needs_an_acknowledgement(rig: Rig) -> None:
    at = scene(rig, 4, shared=True)
    at.probe(Probe(sequence=11), src=ELSEWHERE[4])
    assert at.moves == [0], "newer by its number, but of which run?"
    acked = probes.stamp(rig, 1_000_000)
    at.probe(Probe(sequence=12, answer_stamp=acked), src=ELSEWHERE[4])
    assert at.moves == [1]
    at.probe(Probe(sequence=13, answer_stamp=acked), src=THIRD[4])
    assert at.moves == [2], "none of our answers came since: still of this run"


def test_shared_key_recorded_in_an_earlier_run(rig: Rig) -> None:
    """Its numbers are high, its acknowledgement none of ours, or an old one."""
    at = scene(rig, 4, shared=True)
    acked = probes.stamp(rig, 1_000_000)
    at.probe(Probe(sequence=11, answer_stamp=acked))
    for stamp in (0, 12345, probes.stamp(rig, 61 * 10**9), acked - 10**9):
        at.probe(Probe(sequence=5000, answer_stamp=stamp % 2**64), src=ELSEWHERE[4])
        at.probe(Probe(sequence=5001, answer_stamp=stamp % 2**64), src=ELSEWHERE[4])
    assert at.moves == [0]
    at.probe(Probe(sequence=12, answer_stamp=probes.stamp(rig)), src=THIRD[4])
    assert at.moves == [1], "the peer itself is still followed"


def test_shared_key_peer_that_began_anew(rig: Rig) -> None:
    """It counts from 1: answered, but not noted until it acknowledges an answer."""
    at = scene(rig, 4, shared=True)
    at.probe(Probe(sequence=1000, answer_stamp=probes.stamp(rig)))
    noted = int(rig.plane.paths_live["checked"][at.bond.paths[0]])
    assert at.probe(Probe(sequence=1), src=ELSEWHERE[4]) == "rx_probe_answered"
    assert int(rig.plane.paths_live["checked"][at.bond.paths[0]]) == noted
    at.probe(Probe(sequence=2, answer_stamp=probes.stamp(rig)), src=ELSEWHERE[4])
    assert at.moves == [1]
    assert int(rig.plane.paths_live["checked"][at.bond.paths[0]]) == noted + 1


def test_numbers_beyond_the_block_are_answered_alone(rig: Rig) -> None:
    at = scene(rig, 4)
    number = rig.plane.block
    assert at.probe(replace(Probe(sequence=1), number=number), src=ELSEWHERE[4]) == "rx_probe_answered"
    assert at.moves == [0]
