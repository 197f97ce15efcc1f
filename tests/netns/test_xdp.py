"""Native XDP as the receiving side, on veth: slow there, but the real thing."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from mpbond.lab import traffic
from mpbond.lab.bonds import Bonds, inner_address, pair
from mpbond.lab.netns import wait_for
from mpbond.lab.topology import Topology, link_address, two_hosts
from tests.netns.conftest import MakeBonds, backup, path_on

pytestmark = [pytest.mark.root, pytest.mark.netns]


def checksums_like_a_nic(bonds: Bonds) -> None:
    """veth hands over packets whose checksum is still to be filled in, and XDP has
    no word for that: the sending links fill it in, as hardware does."""
    for host in ("a", "b"):
        for ifname in ("eth1", "eth2"):
            bonds.lab.run(host, ["ethtool", "-K", ifname, "tx", "off"])


def test_xdp_receives_data(bonded: MakeBonds) -> None:
    bonds = bonded(backup(100), interface={"rx": "xdp"})
    lab = bonds.lab
    checksums_like_a_nic(bonds)
    bond = bonds.show("b", "a")
    assert {path["rx"] for path in bond["paths"]} == {"xdp"}
    assert "xdp" in lab.run("b", ["ip", "link", "show", "eth1"])
    with traffic.iperf_server(lab, "b"):
        for version in (4, 6):
            assert traffic.ping(lab, "a", inner_address("b", version))
            assert traffic.tcp_bps(lab, "a", inner_address("b", version), seconds=1) > 10e6
    reasons = bonds.show("b", "a")["reasons"]
    assert reasons["rx_to_tc"] > 0, "probes went on to tc"
    assert reasons["rx_delivered"] > 0
    assert path_on(bonds.show("b", "a"), "eth1")["rxPackets"] > 0


def test_xdp_fails_over_and_leaves_nothing(bonded: MakeBonds) -> None:
    bonds = bonded(backup(100), interface={"rx": "xdp"})
    lab = bonds.lab
    checksums_like_a_nic(bonds)
    with traffic.stream(lab, "a", "b", inner_address("b")) as stream:
        wait_for("the primary in use", lambda: path_on(bonds.show("a", "b"), "eth1")["active"])
        mark = lab.cut("eth1")
        wait_for("eth2 in use", lambda: path_on(bonds.show("a", "b"), "eth2")["active"])
        report = stream.stop()
    assert report.lost == stream.lost_after([mark])[0] <= 130, report
    bonds.kill("b")
    bonds.down("a", "b")
    for host in ("a", "b"):
        assert "xdp" not in lab.run(host, ["ip", "link", "show", "eth1"])


# Somebody else's program, which lets everything pass.
_FOREIGN = """
from pyroute2 import IPRoute
from mpbond.kernel import tc, trials
with IPRoute() as ipr:
    tc.attach_xdp(ipr, ipr.link_lookup(ifname="eth1")[0], trials.load(6, 2))
"""


def test_a_foreign_program_stays(bonds_on: Callable[[Topology], Bonds]) -> None:
    bonds = bonds_on(two_hosts(2))
    lab = bonds.lab
    lab.run("b", [sys.executable, "-c", _FOREIGN])
    before = lab.run("b", ["ip", "link", "show", "eth1"])
    assert "xdp" in before
    ends = [[link_address(link, end) for link in (1, 2)] for end in (1, 2)]
    bonds.up(*pair(ends[0], ends[1], backup(100), interface={"rx": "xdp"}))
    bonds.wait_eligible("b", "a", 2)
    bond = bonds.show("b", "a")
    assert {path["ifname"]: path["rx"] for path in bond["paths"]} == {"eth1": "tc", "eth2": "xdp"}
    assert any("eth1" in note for note in bond["notes"]), bond["notes"]
    assert traffic.ping(lab, "a", inner_address("b"))
    bonds.down("b")
    assert lab.run("b", ["ip", "link", "show", "eth1"]) == before


def test_xdp_is_found_again_and_taken_off_when_the_file_says_tc(bonded: MakeBonds) -> None:
    bonds = bonded(backup(100), interface={"rx": "xdp"})
    lab = bonds.lab
    file = bonds.folder / "site-b.yaml"
    bonds.kill("b")
    bonds.mpbond("b", "up", str(file))
    assert {path["rx"] for path in bonds.show("b", "a")["paths"]} == {"xdp"}, "adopted as it was"
    bonds.kill("b")
    file.write_text(file.read_text().replace("rx: xdp", "rx: tc"))
    bonds.mpbond("b", "up", str(file))
    assert {path["rx"] for path in bonds.show("b", "a")["paths"]} == {"tc"}
    assert "xdp" not in lab.run("b", ["ip", "link", "show", "eth1"])
    assert traffic.ping(lab, "a", inner_address("b"))
