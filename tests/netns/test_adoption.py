"""The controller dies: traffic goes on, a new one adopts, `down` cleans up."""

from __future__ import annotations

import pytest

from mpbond.lab import traffic
from mpbond.lab.bonds import Bonds, inner_address
from mpbond.lab.netns import wait_for
from tests.netns.conftest import MakeBonds, backup, path_on, xor

pytestmark = [pytest.mark.root, pytest.mark.netns]

FLOW_PORTS = range(6001, 6013)


def send_flows(bonds: Bonds, ports: range = FLOW_PORTS) -> dict[str, int]:
    """A few packets on each flow; packets sent per link since ever."""
    for port in ports:
        with traffic.stream(
            bonds.lab, "a", "b", inner_address("b"), count=3, port=port, source_port=port
        ) as stream:
            assert stream.finish().lost == 0
    return {path["ifname"]: path["txPackets"] for path in bonds.show("a", "b")["paths"]}


def test_killed_controller_loses_nothing(bonded: MakeBonds) -> None:
    """kill -9, a second without controller, `up` again, all under a 1 ms stream."""
    bonds = bonded(backup(100))
    with traffic.stream(bonds.lab, "a", "b", inner_address("b")) as stream:
        bonds.kill("a")
        output = bonds.mpbond("a", "up", str(bonds.folder / "site-a.yaml"))
        assert "adopting mp0" in output
        bonds.kill("b")
        bonds.mpbond("b", "up", str(bonds.folder / "site-b.yaml"))
        bonds.wait_eligible("a", "b", 2)
        report = stream.stop()
    assert report.lost == 0 and report.reordered == 0 and report.duplicated == 0, report
    assert bonds.show("a", "b")["failoverEvents"] == 0


def test_adoption_keeps_flows_and_counters(bonded: MakeBonds) -> None:
    bonds = bonded(xor())
    first = send_flows(bonds)
    flows = {path["ifname"]: path["assignedFlowCount"] for path in bonds.show("a", "b")["paths"]}
    bonds.kill("a")
    bonds.mpbond("a", "up", str(bonds.folder / "site-a.yaml"))
    bond = bonds.wait_eligible("a", "b", 2)
    assert {path["ifname"]: path["txPackets"] for path in bond["paths"]} == first, "counters go on"
    second = send_flows(bonds)
    for ifname, count in flows.items():
        assert second[ifname] - first[ifname] == 3 * count, "every flow on the path it had"


@pytest.mark.parametrize("failover_ms", [100])
def test_cut_without_controller(bonded: MakeBonds, failover_ms: int) -> None:
    """The kernel leaves a dead path by itself; the peer's probes are proof enough."""
    bonds = bonded(backup(failover_ms))
    with traffic.stream(bonds.lab, "a", "b", inner_address("b")) as stream:
        wait_for("the primary in use", lambda: path_on(bonds.show("a", "b"), "eth1")["active"])
        bonds.kill("a")
        mark = bonds.lab.cut("eth1")
        wait_for("b has left eth1", lambda: path_on(bonds.show("b", "a"), "eth2")["active"])
        report = stream.stop()
    lost = stream.lost_after([mark])[0]
    print(f"cut without a controller: lost {lost}")
    assert report.lost == lost <= 130 + failover_ms // 4, report
    bonds.mpbond("a", "up", str(bonds.folder / "site-a.yaml"))
    bond = bonds.wait_eligible("a", "b", 1)
    assert path_on(bond, "eth2")["active"]
    assert bond["failoverEvents"] >= 1


def test_down_after_a_kill_leaves_nothing(bonded: MakeBonds) -> None:
    bonds = bonded(xor())
    lab = bonds.lab
    bonds.kill("a")
    output = bonds.mpbond("a", "down")
    assert "removed the interface on mp0" in output
    assert "mp0" not in lab.run("a", ["ip", "-br", "link"])
    for ifname in ("eth1", "eth2"):
        assert "clsact" not in lab.run("a", ["tc", "qdisc", "show", "dev", ifname])
    assert bonds.mpbond("a", "down") == "no bond is up here: nothing to do\n"


def test_changed_file_after_a_kill(bonded: MakeBonds) -> None:
    """Adoption under another file: what left it is removed, what is new is there."""
    bonds = bonded(xor())
    bonds.kill("a")
    file = bonds.folder / "site-a.yaml"
    file.write_text(file.read_text().replace("- 10.99.0.2/32\n", "- 10.99.0.2/32\n    - 10.98.0.0/16\n"))
    bonds.mpbond("a", "up", str(file))
    assert "10.98.0.0/16 dev mp0" in bonds.lab.run("a", ["ip", "route"])
    bonds.kill("a")
    file.write_text(file.read_text().replace("    - 10.98.0.0/16\n", ""))
    bonds.mpbond("a", "up", str(file))
    assert "10.98.0.0/16" not in bonds.lab.run("a", ["ip", "route"])
    assert traffic.ping(bonds.lab, "a", inner_address("b"))


def test_another_policy_after_a_kill(bonded: MakeBonds) -> None:
    """Adoption goes on under the file's policy, not under the dead controller's."""
    bonds = bonded(xor())
    bonds.kill("a")
    file = bonds.folder / "site-a.yaml"
    file.write_text(file.read_text().replace("balance-xor", "broadcast"))
    bonds.mpbond("a", "up", str(file))
    before = {path["ifname"]: path["txPackets"] for path in bonds.wait_eligible("a", "b", 2)["paths"]}
    with traffic.stream(bonds.lab, "a", "b", inner_address("b"), count=50) as stream:
        report = stream.finish()
    assert report.lost == report.duplicated == 0
    after = {path["ifname"]: path["txPackets"] for path in bonds.show("a", "b")["paths"]}
    assert [after[ifname] - before[ifname] for ifname in ("eth1", "eth2")] == [50, 50]


def test_second_controller_is_refused(bonded: MakeBonds) -> None:
    bonds = bonded(xor())
    with pytest.raises(Exception, match="mp0 is up already") as error:
        bonds.mpbond("a", "up", str(bonds.folder / "site-a.yaml"))
    assert "Traceback" not in str(error.value)
    assert traffic.ping(bonds.lab, "a", inner_address("b"))
