"""The probe program: the controller's tick, and what it puts on the wire."""

from __future__ import annotations

import struct
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from mpbond import abi, wire
from mpbond.controller.prober import Prober
from mpbond.kernel import bpf
from tests.bpf import packets, probes
from tests.bpf.probes import Probe, answer, frame
from tests.bpf.rig import CLOCK_NS, REDIRECT, SECOND_NS, SHOT, UNSPEC, Bond, BondSetup, PathSetup, Rig

pytestmark = pytest.mark.root

US = BondSetup(paths=(PathSetup(4), PathSetup(6)))
MARK = 0x6D700000
ETHERTYPE = {4: b"\x08\0", 6: b"\x86\xdd"}


def tick(rig: Rig, paths: Sequence[int], repeat: int | None = None) -> bpf.TestRun:
    """As controller/prober.py does it."""
    body = struct.pack(f"<H{len(paths)}H", len(paths), *paths).ljust(2 + 2 * abi.TICK_PATHS, b"\0")
    packet = bytes(12) + ETHERTYPE[4] + body
    return bpf.test_run(rig.plane.programs["probe"], packet, repeat=len(paths) if repeat is None else repeat)


def sent_probe(rig: Rig, bond: Bond, path: int) -> Probe:
    """The next frame on the wire, which must be a probe of that path to the byte."""
    family = bond.setup.paths[path].family
    got = rig.lab.receive("isp0")
    taken = probes.parse(got[-probes.MESSAGE_LEN :], bond.pair.tx)
    ethernet = bytes.fromhex(packets.MAC_ROUTER.replace(":", "")) + rig.lab.mac["wan0"] + ETHERTYPE[family]
    wanted = ethernet + packets.sent(family, path, taken.message(bond.pair.tx))
    assert got.hex() == wanted.hex()
    assert (taken.kind, taken.number) == (wire.TYPE_PROBE, path)
    return taken


def test_tick_probes_every_path_listed(rig: Rig) -> None:
    bond = rig.bond(US)
    for sequence in (1, 2):
        before_ns, before = time.monotonic_ns(), probes.stamp(rig)
        tick(rig, bond.paths)
        for path in (0, 1):
            taken = sent_probe(rig, bond, path)
            assert before <= taken.sent_stamp <= probes.stamp(rig)
            # Without an answer to acknowledge, how long it was held says nothing.
            plain = replace(taken, sent_stamp=0, hold_us=0)
            marks = probes.marks_of(bond, path)
            assert plain == Probe(number=path, sequence=sequence, sent_stamp=0, marks=marks)
            live = rig.plane.paths_live[bond.paths[path]]
            assert live["probes_sent"] == sequence
            assert before_ns <= live["last_out_ns"] <= time.monotonic_ns()
    assert rig.counts() == {"probe_sent": 4}


@pytest.mark.parametrize("policy", abi.PolicyCode)
def test_probe_tells_how_we_use_its_path(rig: Rig, policy: abi.PolicyCode) -> None:
    bond = rig.bond(BondSetup(policy=policy, paths=(PathSetup(4), PathSetup(6, spare=True))))
    tick(rig, bond.paths)
    assert [sent_probe(rig, bond, path).marks for path in (0, 1)] == [1 << 30 | policy, 0x4000_0100 | policy]


def test_probe_carries_counters_and_the_last_answer(rig: Rig) -> None:
    bond = rig.bond(US)
    rig.plane.path_stats["tx_packets"][bond.paths[0], :] = 2**33 + 100
    rig.plane.path_stats["rx_packets"][bond.paths[0], 0] = 30
    rig.plane.paths_live["answered_mask"][bond.paths[0]] = 0
    assert rig.run("rx_tc", frame(bond, answer(rig, stamped=0xABCDEF))).reason == "rx_answer_taken"
    rig.plane.paths_live["answer_at_ns"][bond.paths[0]] -= 3 * SECOND_NS
    tick(rig, bond.paths[:1])
    taken = sent_probe(rig, bond, 0)
    sent_packets = 100 * rig.plane.cpus
    assert (taken.sent_packets, taken.received_packets) == (sent_packets, 30)
    assert taken.answer_stamp == 0xABCDEF
    assert 3_000_000 <= taken.hold_us < 5_000_000


def test_what_one_end_sends_the_other_takes(rig: Rig) -> None:
    """A probe of ours, answered as the peer would, comes back as a round trip."""
    bond = rig.bond(US)
    tick(rig, bond.paths[1:])
    taken = sent_probe(rig, bond, 1)
    back = replace(taken, kind=wire.TYPE_ANSWER, answer_stamp=99)
    assert rig.run("rx_tc", frame(bond, back, path=1)).reason == "rx_answer_taken"
    live = rig.plane.paths_live[bond.paths[1]]
    assert (live["rtt_count"], live["answered_highest"]) == (1, 1)
    assert 0 < live["rtt_ns"][0] < 2 * SECOND_NS


SKIPPED = [
    ("link down", PathSetup(link_up=False)),
    ("link down, v6", PathSetup(6, link_up=False)),
]


@pytest.mark.parametrize("setup", [setup for _, setup in SKIPPED], ids=[what for what, _ in SKIPPED])
def test_no_probe_over_a_link_that_is_down(rig: Rig, setup: PathSetup) -> None:
    bond = rig.bond(BondSetup(paths=(setup, PathSetup(4))))
    tick(rig, bond.paths)
    assert sent_probe(rig, bond, 1).sequence == 1
    assert rig.counts() == {"probe_sent": 1}


def test_tick_skips_what_is_no_path(rig: Rig) -> None:
    bond = rig.bond(US)
    tick(rig, [bond.paths[0] + 7, abi.NO_PATH, len(rig.plane.paths), bond.paths[0]])
    sent_probe(rig, bond, 0)
    assert rig.counts() == {"probe_sent": 1}


def test_paths_that_are_not_eligible_are_probed(rig: Rig) -> None:
    """How else would they become it? Spares too."""
    bond = rig.bond(BondSetup(paths=(PathSetup(eligible=False), PathSetup(spare=True))))
    tick(rig, bond.paths)
    sent_probe(rig, bond, 0)
    sent_probe(rig, bond, 1)


def test_more_repeats_than_paths(rig: Rig) -> None:
    bond = rig.bond(US)
    tick(rig, bond.paths, repeat=10)
    assert [sent_probe(rig, bond, path).number for path in (0, 1)] == [0, 1]
    rig.wait_for({"probe_sent": 2})


def test_tick_of_a_thousand_and_more(rig: Rig) -> None:
    """The longest list: what a packet that stays within a page can hold."""
    bond = rig.bond(US)
    tick(rig, [bond.paths[0]] * abi.TICK_PATHS, repeat=abi.TICK_PATHS + 5)
    rig.wait_for({"probe_sent": abi.TICK_PATHS})
    assert rig.plane.paths_live["probes_sent"][bond.paths[0]] == abi.TICK_PATHS


def test_tick_moves_the_bonds_clock(rig: Rig) -> None:
    bond = rig.bond(US)
    rig.plane.bonds["stall_ns"][0] = 100 * SECOND_NS
    live = rig.plane.bonds_live[0]
    live["clock_read_ns"] = time.monotonic_ns() - SECOND_NS
    tick(rig, bond.paths)
    assert SECOND_NS <= int(live["clock_ns"]) - CLOCK_NS < 3 * SECOND_NS


def test_tick_after_a_stall_holds_the_clock(rig: Rig) -> None:
    bond = rig.bond(US)
    rig.plane.bonds["rtt_max_ns"][0] = 60 * SECOND_NS
    tick(rig, bond.paths)
    tick(rig, bond.paths)
    live = rig.plane.bonds_live[0]
    assert live["clock_ns"] == CLOCK_NS
    assert int(live["clock_hold_ns"]) > time.monotonic_ns() + 50 * SECOND_NS


def test_unconfigured_node_probes_nothing(rig: Rig) -> None:
    bond = rig.bond(US)
    with rig.unconfigured():
        assert tick(rig, bond.paths).retval == UNSPEC
    assert not rig.counts()


def test_controllers_prober_sends_what_is_due(rig: Rig) -> None:
    """The real one, with its own packet and call."""
    bond = rig.bond(US)
    prober = Prober(rig.plane)
    prober.set_paths(bond.paths, {bond.index: 1000})
    now_ns = time.monotonic_ns()
    prober.tick(now_ns)
    for path in (0, 1):
        sent_probe(rig, bond, path)
    prober.tick(now_ns)
    assert rig.counts() == {"probe_sent": 2}, "not due again"


# ---- the clones at mp0's far end, as test runs ------------------------------------------


def run_clone(rig: Rig, mark: int, data: bytes | None = None) -> tuple[int, str]:
    packet = data or packets.ether(packets.tcp4() / bytes(200))
    got = rig.run("probe", packet, mark=mark, ingress_ifindex=rig.lab.far)
    return got.verdict, got.reason


def test_marked_packet_becomes_a_probe_whatever_it_was(rig: Rig) -> None:
    bond = rig.bond(US)
    for path in (0, 1):
        assert run_clone(rig, MARK | bond.paths[path]) == (REDIRECT, "probe_sent")


@pytest.mark.parametrize("index", [7, 59, 60, 0xFFFF], ids=["unused", "last", "beyond", "none"])
def test_marked_with_no_path(rig: Rig, index: int) -> None:
    """Taken out between the tick and the clone's turn."""
    rig.bond(US)
    assert run_clone(rig, MARK | index) == (SHOT, "probe_failed")


@pytest.mark.parametrize("mark", [0, 1, 0x6D710000, 0x00006D70, 0xFFFFFFFF])
def test_other_packets_go_on_to_tx(rig: Rig, mark: int) -> None:
    rig.bond(US)
    frame_bytes = packets.ether(packets.tcp4())
    context = bpf.skb_context(ifindex=rig.lab.far, mark=mark, ingress_ifindex=rig.lab.far)
    got = bpf.test_run(rig.plane.programs["probe"], frame_bytes, context=context)
    assert (got.retval, got.data) == (UNSPEC, frame_bytes)
    assert not rig.counts()
    assert not np.any(rig.plane.paths_live["probes_sent"][:2])
