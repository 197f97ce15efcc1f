"""Which paths a host gives a configuration: link x endpoint x local address."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from mpbond.config.model import LinkMode, Policy
from mpbond.layout import PathSpec, candidate_links, compute
from tests.unit.host import (
    PEER,
    REMOTE,
    REMOTE6,
    XOR,
    Nic,
    backup,
    config,
    host,
    peer,
    rule,
    told,
    uplink,
    xor,
)

ETH0, ETH1 = uplink("eth0", 0), uplink("eth1", 1)
OVER_ETH0 = f"eth0: 10.0.0.2 -> {REMOTE} via 10.0.0.1"
OVER_ETH1 = f"eth1: 10.0.1.2 -> {REMOTE} via 10.0.1.1"
V6_ETH0 = Nic("eth0", ("2001:db8:a::2/64", "fe80::2/64"), ("default6 via fe80::1",))


@dataclass(frozen=True)
class Case:
    why: str
    nics: tuple[Nic, ...]
    paths: tuple[str, ...]
    endpoints: tuple[str, ...] = (REMOTE,)
    policy: Policy = XOR


CASES = [
    Case(
        "two default routes and no policy routing: a path over each, by its own",
        (ETH0, ETH1),
        (OVER_ETH0, OVER_ETH1),
    ),
    Case(
        "a link's own longest prefix beats its default route, however good that is",
        (Nic("eth0", ("10.0.0.2/24",), ("default via 10.0.0.1", "203.0.113.0/24 via 10.0.0.9 metric 900")),),
        (f"eth0: 10.0.0.2 -> {REMOTE} via 10.0.0.9",),
    ),
    Case(
        "of two default routes of one link the lower metric is taken",
        (
            Nic(
                "eth0", ("10.0.0.2/24",), ("default via 10.0.0.8 metric 200", "default via 10.0.0.9 metric 1")
            ),
        ),
        (f"eth0: 10.0.0.2 -> {REMOTE} via 10.0.0.9",),
    ),
    Case(
        "a link without a route to the endpoint has no path",
        (ETH0, Nic("eth1", ("10.0.1.2/24",))),
        (OVER_ETH0,),
    ),
    Case(
        "an endpoint on the link's own network is its own next hop",
        (Nic("eth0", ("203.0.113.9/24",)),),
        (f"eth0: 203.0.113.9 -> {REMOTE} via {REMOTE}",),
    ),
    Case(
        "an endpoint with a link makes no path over another",
        (ETH0, ETH1),
        (OVER_ETH1,),
        endpoints=(f"{REMOTE}%eth1",),
    ),
    Case(
        "an endpoint that is named with and without its link is one path there",
        (ETH0, ETH1),
        (OVER_ETH0, OVER_ETH1),
        endpoints=(f"{REMOTE}%eth1", REMOTE),
    ),
    Case(
        "links of a policy are an allow-list",
        (ETH0, ETH1),
        (OVER_ETH1,),
        policy=xor(rule("eth1")),
    ),
    Case(
        "paths come in the policy's order of links, not the host's",
        (ETH0, ETH1),
        (OVER_ETH1, OVER_ETH0),
        policy=xor(rule("eth1"), rule("eth0")),
    ),
    Case(
        "a listed link that the host lacks is passed over",
        (ETH0,),
        (OVER_ETH0,),
        policy=xor(rule("wwan0"), rule("eth0")),
    ),
    Case(
        "endpoints come in the file's order within a link",
        (ETH0,),
        ("eth0: 10.0.0.2 -> 203.0.113.9 via 10.0.0.1", OVER_ETH0),
        endpoints=("203.0.113.9", REMOTE),
    ),
    Case(
        "IPv6 and IPv4 endpoints each take the routes of their family",
        (Nic("eth0", ("10.0.0.2/24", "2001:db8:a::2/64"), (*ETH0.routes, "default6 via 2001:db8:a::1")),),
        (OVER_ETH0, f"eth0: 2001:db8:a::2 -> {REMOTE6} via 2001:db8:a::1"),
        endpoints=(REMOTE, REMOTE6),
    ),
    Case(
        "an IPv6 router is known by its link-local address; a global endpoint is still "
        "called from a global address",
        (V6_ETH0,),
        (f"eth0: 2001:db8:a::2 -> {REMOTE6} via fe80::1",),
        endpoints=(REMOTE6,),
    ),
    Case(
        "a link-local endpoint is called from the link-local address",
        (V6_ETH0,),
        ("eth0: fe80::2 -> fe80::7 via fe80::7",),
        endpoints=("fe80::7%eth0",),
    ),
    Case(
        "a link-local endpoint without a link is sought on every link",
        (Nic("eth0", ("fe80::2/64",)), Nic("eth1", ("fe80::3/64",))),
        ("eth0: fe80::2 -> fe80::7 via fe80::7", "eth1: fe80::3 -> fe80::7 via fe80::7"),
        endpoints=("fe80::7",),
    ),
    Case(
        "a router with an IPv4 link-local address: sent from the link's real address",
        (Nic("eth0", ("169.254.0.9/16", "192.0.2.9/32"), ("default via 169.254.0.1",)),),
        (f"eth0: 192.0.2.9 -> {REMOTE} via 169.254.0.1",),
    ),
    Case(
        "two addresses on the next hop's network are two paths",
        (Nic("eth0", ("10.0.0.2/24", "10.0.0.3/24"), ETH0.routes),),
        (OVER_ETH0, f"eth0: 10.0.0.3 -> {REMOTE} via 10.0.0.1"),
    ),
    Case(
        "an address on the next hop's network goes before the others and before src",
        (
            Nic(
                "eth0",
                ("172.16.0.2/24", "10.0.0.2/24", "10.0.0.3/24"),
                ("default via 10.0.0.1 src 172.16.0.2",),
            ),
        ),
        (OVER_ETH0, f"eth0: 10.0.0.3 -> {REMOTE} via 10.0.0.1"),
    ),
    Case(
        "no address on the next hop's network: the route's src",
        (Nic("eth0", ("192.0.2.7/32", "192.0.2.8/32"), ("default via 10.0.0.1 src 192.0.2.8",)),),
        (f"eth0: 192.0.2.8 -> {REMOTE} via 10.0.0.1",),
    ),
    Case(
        "neither: every address of the endpoint's scope",
        (Nic("eth0", ("192.0.2.7/32", "192.0.2.8/32", "169.254.3.3/16"), ("default via 10.0.0.1",)),),
        (
            f"eth0: 192.0.2.7 -> {REMOTE} via 10.0.0.1",
            f"eth0: 192.0.2.8 -> {REMOTE} via 10.0.0.1",
        ),
    ),
    Case(
        "an IPv4 route by way of an IPv6 router",
        (Nic("eth0", ("192.0.2.7/32", "fe80::2/64"), ("default via fe80::1",)),),
        (f"eth0: 192.0.2.7 -> {REMOTE} via fe80::1",),
    ),
    Case(
        "a link without Ethernet has no next hop but the endpoint",
        (Nic("ppp0", ("192.0.2.7/32",), ("default",), kind="ppp", ethernet=False),),
        (f"ppp0: 192.0.2.7 -> {REMOTE} via {REMOTE}",),
    ),
    Case(
        "a link without an address of the family has no path",
        (Nic("eth0", ("fe80::2/64",), ("default via 10.0.0.1",)),),
        (),
    ),
    Case(
        "ipvPref 4 drops the link's IPv6 paths, 6 its IPv4 ones, 46 none",
        tuple(
            Nic(
                name,
                (f"10.0.{n}.2/24", f"2001:db8:{n}::2/64"),
                (f"default via 10.0.{n}.1", f"default6 via 2001:db8:{n}::1"),
            )
            for n, name in enumerate(("a", "b", "c"))
        ),
        (
            f"a: 10.0.0.2 -> {REMOTE} via 10.0.0.1",
            f"b: 2001:db8:1::2 -> {REMOTE6} via 2001:db8:1::1",
            f"c: 10.0.2.2 -> {REMOTE} via 10.0.2.1",
            f"c: 2001:db8:2::2 -> {REMOTE6} via 2001:db8:2::1",
        ),
        endpoints=(REMOTE, REMOTE6),
        policy=xor(rule("a", ipv=4), rule("b", ipv=6), rule("c", ipv=46)),
    ),
    Case(
        "mp0, its far end and lo carry no path, whatever routes they have",
        (
            Nic("lo", ("127.0.0.1/8", "192.0.2.1/32"), ("default",), loopback=True),
            Nic("mp0", ("10.9.0.1/24",), ("default",), kind="veth"),
            Nic("mp0-tx", ("10.9.9.1/24",), ("default",), kind="veth"),
            ETH0,
        ),
        (OVER_ETH0,),
    ),
    Case(
        "not even where a policy lists them",
        (
            Nic("lo", ("127.0.0.1/8",), ("default",), loopback=True),
            Nic("mp0", ("10.9.0.1/24",), ("default",), kind="veth"),
            Nic("mp0-tx", ("10.9.9.1/24",), ("default",), kind="veth"),
            ETH0,
        ),
        (OVER_ETH0,),
        policy=xor(rule("lo"), rule("mp0"), rule("mp0-tx"), rule("eth0")),
    ),
    Case(
        "a dummy is no uplink by itself",
        (Nic("dummy0", ("10.0.7.2/24",), ("default",), kind="dummy"), ETH0),
        (OVER_ETH0,),
    ),
    Case(
        "but it is one where a policy lists it",
        (Nic("dummy0", ("10.0.7.2/24",), ("default",), kind="dummy"), ETH0),
        (f"dummy0: 10.0.7.2 -> {REMOTE} via {REMOTE}",),
        policy=xor(rule("dummy0")),
    ),
]


def paths(case: Case) -> tuple[PathSpec, ...]:
    one = peer(*case.endpoints, policy=case.policy)
    return compute(config(one), host(*case.nics), block=8).bonds[0].paths


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.why)
def test_paths(case: Case) -> None:
    found = paths(case)
    assert tuple(map(told, found)) == case.paths
    assert [path.number for path in found] == list(range(len(found)))


def test_a_path_carries_what_its_link_and_its_rule_say() -> None:
    nics = (uplink("eth0", 0, mtu=9000), uplink("wwan0", 1, up=False, ethernet=False, ifindex=77))
    policy = backup(rule("eth0", ipv=46), rule("wwan0", "spare"))
    first, second = compute(config(peer(policy=policy)), host(*nics), block=8).bonds[0].paths
    assert (first.mode, first.ipv_pref, first.mtu, first.link_up) == (LinkMode.PRIMARY, 46, 9000, True)
    assert (second.mode, second.ifindex, second.ethernet, second.link_up) == (
        LinkMode.SPARE,
        77,
        False,
        False,
    )


def test_candidates_without_a_list_are_in_the_hosts_order() -> None:
    inventory = host(uplink("b", 0, ifindex=9), uplink("a", 1, ifindex=3))
    assert [link.name for link in candidate_links(xor(), inventory, "mp0")] == ["b", "a"]


def test_a_peer_without_a_path_is_a_bond_all_the_same() -> None:
    layout = compute(config(peer(ident=PEER)), host(), block=8)
    assert [(bond.peer.id, bond.paths) for bond in layout.bonds] == [(PEER, ())]
