"""What of a layout stays where it is when hosts and configurations change; MTU and rx."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from mpbond.config.model import Config, LinkMode, Peer, Policy, RxMode
from mpbond.layout import Layout, Placement, block_size, compute
from tests.unit.host import (
    REMOTE,
    REMOTE6,
    Nic,
    backup,
    config,
    endpoint,
    host,
    peer,
    placed,
    rule,
    uplink,
    xor,
)

ETH0, ETH1, ETH2 = (uplink(f"eth{n}", n) for n in range(3))
PLAIN = peer()
V6 = Nic("eth0", ("2001:db8:a::2/64",), ("default6 via fe80::1",))


def follow(wanted: Config, *hosts: tuple[Nic, ...], block: int = 8) -> Layout:
    """The layout after the host has looked like each of `hosts` in turn."""
    layout: Layout | None = None
    for nics in hosts:
        layout = compute(wanted, host(*nics), block=block, placed=placed(layout) if layout else None)
    assert layout is not None
    return layout


def numbers(layout: Layout) -> dict[str, int]:
    return {path.key.ifname: path.number for path in layout.bonds[0].paths}


# ---- numbers ---------------------------------------------------------------------


def numbered(*nics: Nic) -> tuple[Nic, ...]:
    """With the ifindex that the name says, so that a link keeps it when others go."""
    return tuple(replace(nic, ifindex=10 + int(nic.name[-1])) for nic in nics)


def test_a_path_keeps_its_number_when_an_earlier_link_goes() -> None:
    layout = follow(config(peer()), numbered(ETH0, ETH1, ETH2), numbered(ETH1, ETH2))
    assert numbers(layout) == {"eth1": 1, "eth2": 2}


def test_a_path_that_comes_takes_the_lowest_free_number() -> None:
    layout = follow(
        config(peer()), numbered(ETH0, ETH1), numbered(ETH1), numbered(ETH1, ETH2), numbered(ETH0, ETH1, ETH2)
    )
    assert numbers(layout) == {"eth1": 1, "eth2": 0, "eth0": 2}


def test_a_number_is_free_as_soon_as_its_path_is_gone() -> None:
    layout = follow(config(peer()), numbered(ETH0, ETH1), numbered(ETH1, ETH2))
    assert numbers(layout) == {"eth1": 1, "eth2": 0}


def test_numbers_do_not_move_with_the_hosts_order_of_links() -> None:
    layout = follow(config(peer()), numbered(ETH0, ETH1), numbered(ETH1, ETH0))
    assert numbers(layout) == {"eth0": 0, "eth1": 1}


def test_paths_are_listed_by_number() -> None:
    layout = follow(config(peer()), numbered(ETH1), numbered(ETH0, ETH1))
    assert [path.number for path in layout.bonds[0].paths] == [0, 1]
    assert numbers(layout) == {"eth1": 0, "eth0": 1}


def test_a_full_block_leaves_the_latest_out() -> None:
    eth3 = uplink("eth3", 3)
    layout = follow(config(peer()), numbered(ETH2), numbered(ETH0, ETH1, ETH2, eth3), block=3)
    assert numbers(layout) == {"eth2": 0, "eth0": 1, "eth1": 2}


def test_a_new_host_starts_from_zero() -> None:
    assert compute(config(peer()), host(*numbered(ETH1)), block=8).bonds[0].paths[0].number == 0


# ---- links that are down -----------------------------------------------------------


def test_a_link_that_goes_down_keeps_its_paths() -> None:
    layout = follow(config(peer()), (ETH0, ETH1), (ETH0, ETH1.down()))
    assert [(path.key.ifname, path.link_up) for path in layout.bonds[0].paths] == [
        ("eth0", True),
        ("eth1", False),
    ]


def test_its_ipv6_path_stays_though_the_kernel_has_forgotten_the_address() -> None:
    layout = follow(config(peer(REMOTE6)), (V6,), (V6.down(),))
    (path,) = layout.bonds[0].paths
    assert (str(path.key.local), str(path.next_hop), path.link_up) == ("2001:db8:a::2", "fe80::1", False)


def test_and_is_up_again_with_the_link() -> None:
    layout = follow(config(peer(REMOTE6)), (V6,), (V6.down(),), (V6,))
    assert [path.link_up for path in layout.bonds[0].paths] == [True]


def test_a_link_without_carrier_that_keeps_its_routes_has_its_path_marked_down() -> None:
    layout = follow(config(peer()), (ETH0,), (replace(ETH0, up=False),))
    assert [path.link_up for path in layout.bonds[0].paths] == [False]


GONE = [
    ("the link is gone", (), config(peer())),
    ("another link has its ifindex now", (replace(ETH1, name="eth9", ifindex=2).down(),), config(peer())),
    ("the link was made anew", (replace(ETH0, ifindex=50).down(),), config(peer())),
    ("the policy lists it no more", (ETH0.down(),), config(peer(policy=xor(rule("eth5"))))),
    ("the endpoint left the file", (ETH0.down(),), config(peer("203.0.113.9"))),
    ("the endpoint belongs to another link", (ETH0.down(),), config(peer(f"{REMOTE}%eth5"))),
    ("the rule drops the family", (ETH0.down(),), config(peer(policy=xor(rule("eth0", ipv=6))))),
]


@pytest.mark.parametrize(("why", "nics", "wanted"), GONE, ids=[row[0] for row in GONE])
def test_a_path_of_a_link_that_is_down_goes_where(why: str, nics: tuple[Nic, ...], wanted: Config) -> None:
    before = compute(config(peer()), host(ETH0), block=8)
    after = compute(wanted, host(*nics), block=8, placed=placed(before))
    assert after.bonds[0].paths == ()


def test_a_path_of_a_link_that_is_down_follows_a_changed_rule() -> None:
    before = compute(config(peer()), host(ETH0), block=8)
    spare = config(peer(policy=backup(rule("eth1"), rule("eth0", "spare"))))
    after = compute(spare, host(ETH0.down()), block=8, placed=placed(before))
    assert [path.mode for path in after.bonds[0].paths] == [LinkMode.SPARE]


# ---- bonds ---------------------------------------------------------------------------


def at(index: int) -> Placement:
    return Placement(index, ())


A, B, C = (f"{letter}bcdef0123" for letter in "abc")
INDICES: list[tuple[str, tuple[str, ...], dict[str, Placement], list[int]]] = [
    ("nothing placed: in the file's order", (B, A, C), {}, [0, 1, 2]),
    ("who is placed stays, whatever the order", (C, A), {A: at(0), C: at(1)}, [1, 0]),
    ("a new peer takes the lowest free one", (B, C), {C: at(0)}, [1, 0]),
    ("one that left still holds its place", (B,), {A: at(0)}, [1]),
    ("a gap is filled", (A, B, C), {C: at(2), A: at(0)}, [0, 1, 2]),
]


@pytest.mark.parametrize(("why", "idents", "before", "indices"), INDICES, ids=[row[0] for row in INDICES])
def test_bond_indices(
    why: str, idents: tuple[str, ...], before: dict[str, Placement], indices: list[int]
) -> None:
    peers = (peer(ident=ident) for ident in idents)
    layout = compute(config(*peers), host(ETH0), block=8, placed=before)
    assert [bond.index for bond in layout.bonds] == indices


def test_routes_are_everything_allowed_in_order() -> None:
    peers = (peer(ident=A, allowed=("10.1.0.0/16", "fd00::/64")), peer(ident=B, allowed=("10.2.0.0/16",)))
    layout = compute(config(*peers), host(), block=8)
    assert list(map(str, layout.routes)) == ["10.1.0.0/16", "fd00::/64", "10.2.0.0/16"]


# ---- MTU -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mtu:
    why: str
    mtu: int
    nics: tuple[Nic, ...] = (ETH0,)
    peer: Peer = PLAIN
    addresses: tuple[str, ...] = ("10.9.0.1/24",)
    given: int | None = None


MTUS = [
    Mtu("over IPv4: 44 less than the link", 1456),
    Mtu("over IPv6: 64 less", 1436, (V6,), peer(REMOTE6)),
    Mtu("the smallest of the links counts", 1356, (uplink("eth0", 0, mtu=9000), uplink("eth1", 1, mtu=1400))),
    Mtu("a link that carries no path does not", 1456, (ETH0, Nic("eth7", mtu=576))),
    Mtu(
        "1500 over IPv4 is less than 1510 over IPv6",
        1446,
        (replace(V6, mtu=1510), ETH1),
        peer(REMOTE, REMOTE6),
    ),
    Mtu(
        "a link that is down counts too: it may come back",
        1356,
        (ETH0, uplink("eth1", 1, mtu=1400, up=False)),
    ),
    Mtu("what the file says wins", 1400, given=1400),
    Mtu("and is not raised either", 576, given=576, addresses=("fd00::1/64",)),
    Mtu("no path yet: Ethernet's, over IPv6", 1436, ()),
    Mtu("never below 576", 576, (uplink("eth0", 0, mtu=600),)),
    Mtu(
        "nor below 1280 with an IPv6 address", 1280, (uplink("eth0", 0, mtu=1300),), addresses=("fd00::1/64",)
    ),
    Mtu(
        "nor below 1280 with an IPv6 network",
        1280,
        (uplink("eth0", 0, mtu=1300),),
        peer(allowed=("fd00::/64",)),
    ),
    Mtu("without either it may be", 1256, (uplink("eth0", 0, mtu=1300),)),
]


@pytest.mark.parametrize("case", MTUS, ids=lambda case: case.why)
def test_mtu(case: Mtu) -> None:
    wanted = config(case.peer, addresses=case.addresses, mtu=case.given)
    assert compute(wanted, host(*case.nics), block=8).mtu == case.mtu


# ---- rx and sizes ------------------------------------------------------------------------


def test_rx_is_by_link_and_only_where_paths_are() -> None:
    wanted = config(
        peer(ident=A), peer(ident=B), rx=RxMode.TC, rx_links=(("eth1", RxMode.XDP), ("eth9", RxMode.XDP))
    )
    layout = compute(wanted, host(ETH0, ETH1, Nic("eth2")), block=8)
    assert layout.rx == (("eth0", RxMode.TC), ("eth1", RxMode.XDP))


def test_a_link_that_is_down_goes_on_being_listened_to() -> None:
    layout = follow(config(peer()), (ETH0, ETH1), (ETH0, ETH1.down()))
    assert [name for name, _ in layout.rx] == ["eth0", "eth1"]


@pytest.mark.parametrize(("endpoints", "block"), [(1, 8), (4, 8), (5, 16), (9, 32), (64, 128), (200, 128)])
def test_block_size_leaves_room_to_double(endpoints: int, block: int) -> None:
    many = replace(peer(), endpoints=tuple(endpoint(f"203.0.113.{n}") for n in range(endpoints)))
    assert block_size(config(peer(ident=B), many), host(ETH0)) == block


def test_block_size_without_peers() -> None:
    assert block_size(config(), host(ETH0)) == 8


# ---- a policy beside the one in force -------------------------------------------------


def beside(policy: Policy, *, before: Layout | None = None) -> Layout:
    """PLAIN's layout on eth0 and eth1 alone, with another policy's paths kept as well."""
    only = replace(PLAIN, policy=xor(rule("eth0"), rule("eth1")))
    here = placed(before) if before else None
    return compute(
        config(only), host(*numbered(ETH0, ETH1, ETH2)), block=8, placed=here, beside={PLAIN.id: [policy]}
    )


def test_what_only_the_policy_beside_wants_stands_by_as_a_spare() -> None:
    found = {
        path.key.ifname: path for path in beside(xor(rule("eth2"), rule("eth1", "spare"))).bonds[0].paths
    }
    assert {name: (path.standby, path.mode) for name, path in found.items()} == {
        "eth0": (False, LinkMode.PRIMARY),
        "eth1": (False, LinkMode.PRIMARY),
        "eth2": (True, LinkMode.SPARE),
    }


def test_paths_keep_their_numbers_through_a_change_of_policy() -> None:
    """Before, beside, in force, alone: nobody takes another's number while both are there."""
    first = compute(
        config(replace(PLAIN, policy=xor(rule("eth0")))), host(*numbered(ETH0, ETH1, ETH2)), block=8
    )
    during = beside(xor(rule("eth2")), before=first)
    assert numbers(during) == {"eth0": 0, "eth1": 1, "eth2": 2}
    after = compute(
        config(replace(PLAIN, policy=xor(rule("eth2")))),
        host(*numbered(ETH0, ETH1, ETH2)),
        block=8,
        placed=placed(during),
    )
    assert numbers(after) == {"eth2": 2}


def test_a_policy_beside_of_another_peer_changes_nothing() -> None:
    wanted = config(replace(PLAIN, policy=xor(rule("eth0"))))
    inventory = host(*numbered(ETH0, ETH1))
    assert compute(wanted, inventory, block=8, beside={"bbcdef0123": [xor()]}) == compute(
        wanted, inventory, block=8
    )
