"""A bond comes and goes, in every way there is, and nothing of it is left.

Others may work on the machine at the same time, so what is compared is the own
network namespace as a whole, and of the machine what the lab had made.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mpbond.lab import leftovers, traffic
from mpbond.lab.bonds import Bonds, inner_address, pair
from mpbond.lab.leftovers import Leftovers
from mpbond.lab.netns import Lab, command, remove_namespace
from mpbond.lab.topology import link_address, two_hosts
from tests.netns.conftest import xor

pytestmark = [pytest.mark.root, pytest.mark.netns]


@contextmanager
def nothing_left() -> Iterator[list[Leftovers]]:
    """Around a whole lab. The block appends what the lab had made while it was up."""
    before = leftovers.network()
    made: list[Leftovers] = []
    yield made
    assert made and all(made)
    assert leftovers.still_there(frozenset().union(*made)) == []
    assert leftovers.difference(before, leftovers.network()) == []


def bring_up(lab: Lab, folder: Path) -> tuple[Bonds, Leftovers]:
    """A bond over both links that has carried something; how both hosts were before."""
    bonds = Bonds(lab, folder)
    hosts_before = leftovers.network(lab.ns("a"), lab.ns("b"))
    bonds.up(*pair(*([link_address(link, end) for link in (1, 2)] for end in (1, 2)), xor()))
    bonds.wait_eligible("a", "b", 2)
    with traffic.stream(lab, "a", "b", inner_address("b"), count=200) as stream:
        assert stream.finish().lost == 0
    return bonds, hosts_before


def down_plain(bonds: Bonds) -> None:
    bonds.down("a", "b")


def down_after_kill(bonds: Bonds) -> None:
    for host in ("a", "b"):
        bonds.kill(host)
    with traffic.stream(bonds.lab, "a", "b", inner_address("b"), count=200) as stream:
        assert stream.finish().lost == 0, "the data path needs no controller"
    bonds.down("a", "b")


def down_by_signal(bonds: Bonds) -> None:
    """SIGTERM, as a service manager sends it; `down` finds nothing to do after it."""
    for host in ("a", "b"):
        bonds.signal(host, signal.SIGTERM)
        bonds.wait_gone(host)
        assert "nothing to do" in bonds.mpbond(host, "down")


@pytest.mark.parametrize("take_down", [down_plain, down_after_kill, down_by_signal])
def test_a_bond_goes_as_it_came(take_down: Callable[[Bonds], None], tmp_path: Path) -> None:
    with nothing_left() as made, Lab(two_hosts(2)) as lab:
        bonds, hosts_before = bring_up(lab, tmp_path)
        made.append(leftovers.made_by(lab))
        take_down(bonds)
        hosts_after = leftovers.network(lab.ns("a"), lab.ns("b"))
        assert leftovers.difference(hosts_before, hosts_after) == []
        bpf_objects = frozenset(line for line in made[0] if line.startswith(("BPF", "process")))
        assert leftovers.still_there(bpf_objects) == [], "before the namespaces go"


def test_a_lab_that_ends_in_an_exception_takes_its_bonds_along(tmp_path: Path) -> None:
    with nothing_left() as made, pytest.raises(ZeroDivisionError), Lab(two_hosts(2)) as lab:
        bring_up(lab, tmp_path)
        made.append(leftovers.made_by(lab))
        raise ZeroDivisionError


def test_what_a_bond_makes_is_seen(tmp_path: Path) -> None:
    """Else nothing could be found missing: every kind is there while the bond is up."""
    with Lab(two_hosts(2)) as lab:
        bring_up(lab, tmp_path)
        made = leftovers.made_by(lab)
        assert made <= leftovers.machine()
        for kind in ("namespace ", "process ", "BPF program ", "BPF map "):
            assert any(line.startswith(kind) for line in made), kind
        host = leftovers.network(lab.ns("a"))
        for what in ("interface mp0 ", "tc ingress filter bpf mpbond:mp0 on eth1", "qdisc clsact on eth2"):
            assert any(what in line for line in host), what
        left = leftovers.still_there(made, timeout_s=0)
        assert set(left) == made, "and is reported as long as it is there"


def test_a_forgotten_namespace_and_interface_are_reported() -> None:
    """In a lab's own names, so that nothing of others is touched."""
    lab = Lab(two_hosts(1))
    before = leftovers.snapshot()
    name = lab.ns("forgotten")
    command(["ip", "netns", "add", name])
    try:
        ifname = name[-15:]
        command(["ip", "link", "add", ifname, "type", "veth", "peer", "name", "peer0", "netns", name])
        try:
            found = leftovers.since(before, timeout_s=0)
        finally:
            command(["ip", "link", "del", ifname])
    finally:
        remove_namespace(name)
    assert f"left: namespace {name}" in found
    assert f"left: interface {ifname} mtu 1500 down" in found
    assert not [line for line in leftovers.since(before, timeout_s=0) if name in line or ifname in line]
