"""Rates of a peer: who waits in mp0's queue, and what comes in beyond the rate."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from mpbond import abi
from mpbond.limits import NS_PER_S
from tests.bpf import packets
from tests.bpf.packets import ether, reply4, tcp4
from tests.bpf.rig import OK, REDIRECT, Bond, BondSetup, PathSetup, Rig

pytestmark = pytest.mark.root

CLASS = 0x90001
XOR, RR, BACKUP = abi.PolicyCode.BALANCE_XOR, abi.PolicyCode.BALANCE_RR, abi.PolicyCode.ACTIVE_BACKUP
INNER_BYTES = 128
# One packet takes a tenth of a second: longer than any run of these tests.
SLOW_NS_PER_MIB = (NS_PER_S // 10 << 20) // INNER_BYTES


def limited(rig: Rig, setup: BondSetup, *, exempt: bool = False, **limit: int) -> Bond:
    bond = rig.bond(setup)
    rig.plane.node["limiting"] = 1
    for name, value in limit.items():
        rig.plane.limits[name][bond.index] = value
    for index in bond.paths:
        rig.plane.set_path_flag(index, abi.PathFlag.EXEMPT, exempt)
    return bond


@pytest.fixture(autouse=True)
def no_limit_left(rig: Rig) -> None:
    rig.plane.node["limiting"] = 0


@dataclass(frozen=True)
class Sending:
    """A packet at mp0's egress, or at its far end behind the queue."""

    why: str
    policy: abi.PolicyCode
    waits: bool
    send_class: int = CLASS
    exempt: bool = False
    limiting: bool = True
    behind: bool = False


SENDING = [
    Sending("no peer has a rate", XOR, False, limiting=False),
    Sending("another peer has one", XOR, False, send_class=0),
    Sending("this one has", XOR, True),
    Sending("under active-backup", BACKUP, True),
    Sending("behind the queue it has waited", XOR, False, behind=True),
    Sending("its path is exempt", XOR, False, exempt=True),
    Sending("by turns who waits is asked before the path", RR, True, exempt=True),
    Sending("and goes when it has waited", RR, False, behind=True),
]


@pytest.mark.parametrize("case", SENDING, ids=lambda case: case.why)
def test_who_waits(rig: Rig, case: Sending) -> None:
    setup = BondSetup(policy=case.policy, packets_per_link=1, paths=(PathSetup(), PathSetup()))
    bond = limited(rig, setup, exempt=case.exempt, send_class=case.send_class)
    rig.plane.node["limiting"] = int(case.limiting)
    before = rig.path_packets(bond)
    frame = ether(tcp4())
    got = rig.run("tx", frame, ifindex=rig.lab.far if case.behind else rig.lab.mp0)
    if case.waits:
        assert (got.verdict, got.reason, got.data) == (OK, "tx_to_device", frame)
        assert rig.path_packets(bond) == before
    else:
        assert (got.verdict, got.reason) == (REDIRECT, "tx_sent")


def comes(rig: Rig, bond: Bond, program: str) -> str:
    return rig.run(program, packets.data(4, bond.pair.rx.number, reply4(INNER_BYTES - 28))).reason


@pytest.mark.parametrize("program", ["rx_tc", "rx_xdp"])
@pytest.mark.parametrize("burst", [0, 1, 5])
def test_what_comes_beyond_the_rate_is_dropped(rig: Rig, program: str, burst: int) -> None:
    bond = limited(
        rig,
        BondSetup(),
        recv_ns_per_mib=SLOW_NS_PER_MIB,
        recv_burst_ns=burst * NS_PER_S // 10 + NS_PER_S // 20,
    )
    rig.learn(bond)
    before = rig.path_packets(bond, "rx")[0]
    reasons = [comes(rig, bond, program) for _ in range(burst + 4)]
    assert reasons == ["rx_delivered"] * (burst + 1) + ["rx_over_limit"] * 3
    assert rig.path_packets(bond, "rx")[0] - before == burst + 4, "they came over the path all the same"


def test_a_line_that_is_free_again_takes_more(rig: Rig) -> None:
    bond = limited(rig, BondSetup(), recv_ns_per_mib=SLOW_NS_PER_MIB)
    assert [comes(rig, bond, "rx_tc") for _ in range(2)] == ["rx_delivered", "rx_over_limit"]
    rig.plane.limits["recv_free_ns"][bond.index] = 1
    assert [comes(rig, bond, "rx_tc") for _ in range(2)] == ["rx_delivered", "rx_over_limit"]


@pytest.mark.parametrize(
    ("exempt", "limiting", "ns_per_mib"),
    [(True, 1, SLOW_NS_PER_MIB), (False, 0, SLOW_NS_PER_MIB), (False, 1, 0)],
)
def test_no_rate_holds(rig: Rig, exempt: bool, limiting: int, ns_per_mib: int) -> None:
    bond = limited(rig, BondSetup(), exempt=exempt, recv_ns_per_mib=ns_per_mib)
    rig.plane.node["limiting"] = limiting
    rig.learn(bond)
    assert [comes(rig, bond, "rx_tc") for _ in range(5)] == ["rx_delivered"] * 5


def test_copies_are_no_traffic_of_their_own(rig: Rig) -> None:
    bond = limited(rig, BondSetup(), recv_ns_per_mib=SLOW_NS_PER_MIB, recv_burst_ns=NS_PER_S // 20)
    number = bond.pair.rx.number
    frames = [packets.copy(4, number, at, reply4(INNER_BYTES - 28)) for at in (1, 1, 1, 2)]
    found = [rig.run("rx_tc", frame).reason for frame in frames]
    assert found == ["rx_delivered", "rx_duplicate", "rx_duplicate", "rx_over_limit"]
