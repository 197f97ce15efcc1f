"""Hosts behind two bonded routers: forwarding through mp0."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mpbond.lab import traffic
from mpbond.lab.bonds import Bonds, pair
from mpbond.lab.topology import CLIENT_LAN, SERVER_LAN, Topology, gateways, link_address
from tests.netns.conftest import xor

pytestmark = [pytest.mark.root, pytest.mark.netns]


@pytest.fixture
def routers(bonds_on: Callable[[Topology], Bonds]) -> Bonds:
    """client - a = b - server, two links between a and b."""
    bonds = bonds_on(gateways(2))
    ends = [[link_address(link, end) for link in (1, 2)] for end in (1, 2)]
    site_a, site_b = pair(ends[0], ends[1], xor())
    site_a.allowed = {"b": list(SERVER_LAN)}
    site_b.allowed = {"a": list(CLIENT_LAN)}
    bonds.up(site_a, site_b)
    bonds.wait_eligible("a", "b", 2)
    bonds.wait_eligible("b", "a", 2)
    return bonds


@pytest.mark.parametrize("server", ["192.168.72.2", "fd72::2"])
def test_tcp_through_both_routers(routers: Bonds, server: str) -> None:
    lab = routers.lab
    with traffic.iperf_server(lab, "server"):
        assert traffic.ping(lab, "client", server)
        data = traffic.iperf(lab, "client", server, seconds=1, flows=16)
    assert data["end"]["sum_received"]["bits_per_second"] > 100e6
    assert all(path["txBytes"] > 0 for path in routers.show("a", "b")["paths"])


@pytest.mark.parametrize(("server", "header"), [("192.168.72.2", 28), ("fd72::2", 48)])
def test_full_size_packet_gets_told_the_mtu(routers: Bonds, server: str, header: int) -> None:
    """A DF packet of the LAN's MTU is answered with fragmentation-needed and mp0's
    MTU; the next one, of that size, arrives."""
    lab = routers.lab
    with pytest.raises(Exception, match=r"mtu.?=?.?1456") as error:
        lab.run("client", ["ping", "-c", "1", "-W", "1", "-M", "do", "-s", str(1500 - header), server])
    assert "1456" in str(error.value)
    assert traffic.ping(lab, "client", server, "-M", "do", "-s", str(1456 - header))


def test_source_outside_allowed_is_dropped(routers: Bonds) -> None:
    """Cryptokey routing: a host behind a router that is in no `allowed` list."""
    lab = routers.lab
    lab.run("client", ["ip", "addr", "add", "192.168.99.9/32", "dev", "lo"])
    assert not traffic.ping(lab, "client", "192.168.72.2", "-I", "192.168.99.9")
    assert routers.show("b", "a")["reasons"]["rx_source_not_allowed"] > 0
