"""Which paths are local: by their links' prefixes, link-local, alwaysLocalNets."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from mpbond.config.model import Settings
from mpbond.layout import compute
from mpbond.priorities import Precedence, Reach, precedence, reach
from tests.unit.host import config, host, peer, uplink

BLOCK = 8


@pytest.mark.parametrize(
    ("remote", "near", "found"),
    [
        ("192.0.2.9", "192.0.2.0/24", "lan"),
        ("192.0.3.9", "192.0.2.0/24", "wan"),
        ("192.0.2.9", "2001:db8::/32", "wan"),
        ("2001:db8::1", "2001:db8::/64", "lan"),
        ("2001:db8:1::1", "2001:db8::/64", "wan"),
        ("fe80::1", "192.0.2.0/24", "lan"),
        ("169.254.3.4", "192.0.2.0/24", "lan"),
    ],
)
def test_reach(remote: str, near: str, found: str) -> None:
    assert reach(ip_address(remote), [ip_network(near)]) == found


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        (Settings(), Precedence(Reach.WAN, 30)),
        (Settings(priority_wan=45), Precedence(Reach.WAN, 45)),
        (Settings(always_local_nets=(ip_network("0.0.0.0/0"),)), Precedence(Reach.LAN, 10)),
        (Settings(always_local_nets=(ip_network("0.0.0.0/0"),), priority_lan=7), Precedence(Reach.LAN, 7)),
        (Settings(always_local_nets=(ip_network("::/0"),)), Precedence(Reach.WAN, 30)),
    ],
)
def test_a_path_behind_a_router(settings: Settings, found: Precedence) -> None:
    inventory = host(uplink("eth0", 0, ifindex=10))
    (bond,) = compute(config(peer()), inventory, block=BLOCK).bonds
    assert [precedence(path, settings, inventory) for path in bond.paths] == [found]
