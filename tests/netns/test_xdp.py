"""Native XDP as the receiving side, on veth: slow there, but the real thing."""

from __future__ import annotations

import pytest

from mpbond.lab import traffic
from mpbond.lab.bonds import Bonds, inner_address
from mpbond.lab.netns import wait_for
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
