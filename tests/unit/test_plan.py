"""Steps: which ones, in which order, and how they read. Any two files: tests/property/test_any_plan.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from mpbond.config.model import Config, RxMode
from mpbond.layout import Layout, compute
from mpbond.plan import plan
from tests.unit.host import REMOTE, Nic, backup, config, host, peer, placed, rule, uplink
from tests.unit.kernel_model import installed

ETH0, ETH1 = uplink("eth0", 0, ifindex=2), uplink("eth1", 1, ifindex=3)
BERLIN = peer(name="berlin")
OTHER = peer(ident="bbcdef0123", allowed=("10.20.0.0/16",))
A, B = BERLIN.id, OTHER.id


def laid(wanted: Config, *nics: Nic, before: Layout | None = None) -> Layout:
    return compute(wanted, host(*nics), block=8, placed=placed(before) if before else None)


def lines(after: Layout, before: Layout | None = None) -> list[str]:
    return [str(step) for step in plan(after, before)]


def test_a_fresh_bond_from_nothing_to_routes() -> None:
    nics = (ETH0, replace(ETH1, up=False))
    wanted = config(replace(BERLIN, policy=backup(rule("eth0"), rule("eth1", "spare"))), rx=RxMode.TC)
    assert lines(laid(wanted, *nics)) == [
        "create mp0 with MTU 1456",
        f"add peer {A} (berlin) under backup",
        f"add path 0 to {A}: eth0 10.0.0.2 -> {REMOTE} port 9944, next hop 10.0.0.1, primary",
        f"add path 1 to {A}: eth1 10.0.1.2 -> {REMOTE} port 9944, next hop 10.0.1.1, spare, link down",
        f"let 10.9.0.2/32 belong to peer {A}",
        "take the bond's packets on eth0 (tc)",
        "take the bond's packets on eth1 (tc)",
        "add address 10.9.0.1/24 to mp0",
        "bring mp0 up",
        "route 10.9.0.2/32 to mp0",
    ]


@dataclass(frozen=True)
class Change:
    why: str
    after: Callable[[Layout], Layout]
    steps: tuple[str, ...]


BEFORE = laid(config(BERLIN), ETH0, ETH1)


def change(why: str, wanted: Config, nics: tuple[Nic, ...], *steps: str) -> Change:
    return Change(why, lambda before: laid(wanted, *nics, before=before), steps)


PATH1 = f"path 1 to {A}: eth1 10.0.1.2 -> {REMOTE}"
CHANGES = [
    change("nothing is different", config(BERLIN), (ETH0, ETH1)),
    change(
        "a link goes",
        config(BERLIN),
        (ETH0,),
        f"remove {PATH1}",
        "stop taking packets on eth1",
    ),
    change(
        "a link comes",
        config(BERLIN),
        (ETH0, ETH1, uplink("eth2", 2, mtu=1400)),
        "set the MTU of mp0 to 1356 (was 1456)",
        f"add path 2 to {A}: eth2 10.0.2.2 -> {REMOTE} port 9944, next hop 10.0.2.1, primary",
        "take the bond's packets on eth2 (auto)",
    ),
    change(
        "a link goes down",
        config(BERLIN),
        (ETH0, ETH1.down()),
        f"change {PATH1} port 9944, next hop 10.0.1.1, primary, link down",
    ),
    change(
        "a link has another router",
        config(BERLIN),
        (ETH0, replace(ETH1, routes=("default via 10.0.1.9",))),
        f"change {PATH1} port 9944, next hop 10.0.1.9, primary",
    ),
    change(
        "a link was made anew under its name: the same path, but the kernel's is another",
        config(BERLIN),
        (ETH0, replace(ETH1, ifindex=40)),
        f"remove {PATH1}",
        f"add {PATH1} port 9944, next hop 10.0.1.1, primary",
    ),
    change(
        "a link has another address: the number is free again at once",
        config(BERLIN),
        (ETH0, replace(ETH1, addresses=("10.0.1.3/24",))),
        f"remove {PATH1}",
        f"add path 1 to {A}: eth1 10.0.1.3 -> {REMOTE} port 9944, next hop 10.0.1.1, primary",
    ),
    change(
        "another peer takes the only one's network",
        config(replace(OTHER, allowed=BERLIN.allowed)),
        (ETH0,),
        f"remove path 0 to {A}: eth0 10.0.0.2 -> {REMOTE}",
        f"remove {PATH1}",
        f"remove peer {A}",
        f"add peer {B} under balance-xor",
        f"add path 0 to {B}: eth0 10.0.0.2 -> {REMOTE} port 9944, next hop 10.0.0.1, primary",
        f"let 10.9.0.2/32 belong to peer {B}",
        "stop taking packets on eth1",
    ),
    change(
        "a peer comes",
        config(BERLIN, replace(OTHER, endpoints=())),
        (ETH0, ETH1),
        "wait for peers at 10.0.0.2",
        "wait for peers at 10.0.1.2",
        f"add peer {B} under balance-xor",
        f"let 10.20.0.0/16 belong to peer {B}",
        "route 10.20.0.0/16 to mp0",
    ),
    change(
        "the policy changes, the paths do not",
        config(replace(BERLIN, policy=backup())),
        (ETH0, ETH1),
        f"change peer {A} (berlin) under backup",
    ),
    change(
        "networks change",
        config(replace(BERLIN, allowed=OTHER.allowed)),
        (ETH0, ETH1),
        "let 10.9.0.2/32 belong to no peer",
        f"change peer {A} (berlin) under balance-xor",
        f"let 10.20.0.0/16 belong to peer {A}",
        "remove the route of 10.9.0.2/32 to mp0",
        "route 10.20.0.0/16 to mp0",
    ),
    change(
        "where packets are taken changes",
        config(BERLIN, rx_links=(("eth1", RxMode.XDP),)),
        (ETH0, ETH1),
        "take the bond's packets on eth1 (xdp)",
    ),
    change(
        "mp0 has an address more",
        config(BERLIN, addresses=("10.9.0.1/24", "fd00::1/64")),
        (ETH0, ETH1),
        "add address fd00::1/64 to mp0",
    ),
    change(
        "mp0 has another address: never without one, as its routes would go",
        config(BERLIN, addresses=("10.8.0.1/24",)),
        (ETH0, ETH1),
        "add address 10.8.0.1/24 to mp0",
        "remove address 10.9.0.1/24 from mp0",
    ),
    change(
        "mp0 has another address of the network, which the kernel takes along: its routes too",
        config(BERLIN, addresses=("10.9.0.7/24",)),
        (ETH0, ETH1),
        "remove address 10.9.0.1/24 from mp0",
        "add address 10.9.0.7/24 to mp0",
        "route 10.9.0.2/32 to mp0",
    ),
    change(
        "mp0's only IPv4 address goes: the routes do not",
        config(BERLIN, addresses=("fd00::1/64",)),
        (ETH0, ETH1),
        "add address fd00::1/64 to mp0",
        "remove address 10.9.0.1/24 from mp0",
        "route 10.9.0.2/32 to mp0",
    ),
]


@pytest.mark.parametrize("case", CHANGES, ids=lambda case: case.why)
def test_a_change_makes_these_steps_and_no_others(case: Change) -> None:
    after = case.after(BEFORE)
    assert tuple(lines(after, BEFORE)) == case.steps
    assert installed(BEFORE).apply(plan(after, BEFORE)).by_peer() == installed(after).by_peer()


def test_an_address_that_another_bond_uses_stays_known_as_ours() -> None:
    both = laid(config(BERLIN, OTHER), ETH0)
    one = laid(config(BERLIN), ETH0, before=both)
    kernel = installed(both).apply(plan(one, both))
    assert kernel.locals == {path.key.local for path in one.bonds[0].paths}


def test_a_kept_address_of_a_shaken_network_is_put_back() -> None:
    """10.9.0.2 is the second of its network: the kernel drops it with the first."""
    before = laid(config(BERLIN, addresses=("10.9.0.1/24", "10.9.0.2/24")), ETH0)
    after = laid(config(BERLIN, addresses=("10.9.0.2/24",)), ETH0, before=before)
    assert lines(after, before) == [
        "remove address 10.9.0.1/24 from mp0",
        "add address 10.9.0.2/24 to mp0",
        "route 10.9.0.2/32 to mp0",
    ]


def test_ipv6_addresses_go_without_taking_anything_along() -> None:
    before = laid(config(BERLIN, addresses=("10.9.0.1/24", "fd00::1/64")), ETH0)
    after = laid(config(BERLIN), ETH0, before=before)
    assert lines(after, before) == ["remove address fd00::1/64 from mp0"]
