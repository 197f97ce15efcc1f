"""Topologies are data: what can be wrong with them shows without making them."""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_address, ip_interface

import pytest

from mpbond.lab.topology import (
    CLIENT_LAN,
    SERVER_LAN,
    TOPOLOGIES,
    Topology,
    gateways,
    link_address,
    routed_address,
    routed_hosts,
    two_hosts,
)

ALL = {name: make() for name, make in TOPOLOGIES.items()} | {
    "plain": two_hosts(4, guarded=False),
    "many": two_hosts(16),
    "guarded-gateways": gateways(3, guarded=True),
    "more-routers": routed_hosts(4),
}
IFNAMSIZ = 15

each = pytest.mark.parametrize("topology", ALL.values(), ids=ALL.keys())


@each
def test_wires_end_at_hosts_there_are(topology: Topology) -> None:
    hosts = [host.name for host in topology.hosts]
    assert len(set(hosts)) == len(hosts)
    assert {end.host for wire in topology.wires for end in (wire.a, wire.b)} <= set(hosts)


@each
def test_no_name_or_address_twice(topology: Topology) -> None:
    ends = [end for wire in topology.wires for end in (wire.a, wire.b)]
    interfaces = Counter((end.host, end.ifname) for end in ends)
    addresses = Counter(address for end in ends for address in end.addresses)
    wires = Counter(wire.name for wire in topology.wires)
    assert {name: count for counter in (interfaces, addresses, wires) for name, count in counter.items()} == {
        name: 1 for counter in (interfaces, addresses, wires) for name in counter
    }


@each
def test_names_fit_the_kernel(topology: Topology) -> None:
    """The middle's ends are the wire's name with two letters more."""
    names = [end.ifname for wire in topology.wires for end in (wire.a, wire.b)]
    names += [f"{wire.name}-a" for wire in topology.wires]
    assert max(map(len, names)) <= IFNAMSIZ


@each
def test_both_ends_of_a_wire_are_in_the_same_networks(topology: Topology) -> None:
    for wire in topology.wires:
        networks = [{ip_interface(address).network for address in end.addresses} for end in (wire.a, wire.b)]
        assert networks[0] == networks[1], wire.name
        assert {network.version for network in networks[0]} == {4, 6}


@each
def test_every_gateway_is_on_the_link_it_is_reached_by(topology: Topology) -> None:
    for host in topology.hosts:
        for _, gateway, ifname, _ in host.routes:
            wire, far = next(
                (wire, far)
                for wire in topology.wires
                for near, far in ((wire.a, wire.b), (wire.b, wire.a))
                if (near.host, near.ifname) == (host.name, ifname)
            )
            assert gateway in {str(ip_interface(address).ip) for address in far.addresses}, wire.name
            assert next(other for other in topology.hosts if other.name == far.host).forward


@pytest.mark.parametrize("version", [4, 6])
def test_addresses_by_number_are_those_of_the_wires(version: int) -> None:
    kind = 0 if version == 4 else 1
    for link in (1, 2, 3):
        wire = two_hosts(3).wire(f"eth{link}")
        for end, at in ((1, wire.a), (2, wire.b)):
            assert ip_interface(at.addresses[kind]).ip == ip_address(link_address(link, end, version))
        routed = routed_hosts(3)
        for end, host in ((1, "a"), (2, "b")):
            address = routed.wire(f"{host}{link}").a.addresses[kind]
            assert ip_interface(address).ip == ip_address(routed_address(link, end, version))


def test_lans_behind_the_gateways() -> None:
    for name, lan in (("client", CLIENT_LAN), ("server", SERVER_LAN)):
        wire = gateways(2).wire(name)
        assert tuple(str(ip_interface(address).network) for address in wire.a.addresses) == lan


def test_metrics_of_default_routes_differ() -> None:
    """The kernel takes only one of those with the same metric."""
    for host in routed_hosts(3).hosts[:2]:
        for default in ("0.0.0.0/0", "::/0"):
            metrics = [metric for prefix, _, _, metric in host.routes if prefix == default]
            assert len(metrics) == 3 == len(set(metrics))


def test_with_wires_changes_all_and_only_what_is_named() -> None:
    changed = two_hosts(3).with_wires(rate_mbit=100, guarded=False)
    assert {(wire.rate_mbit, wire.guarded) for wire in changed.wires} == {(100, False)}
    assert [wire.a for wire in changed.wires] == [wire.a for wire in two_hosts(3).wires]
