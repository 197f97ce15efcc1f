"""Peers without endpoints: what is known of where they come in, and the paths made of it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpbond.config.model import Config, LinkMode, Peer
from mpbond.layout import Layout, block_size, compute
from mpbond.learnt import Learnt, Reached, patience_ns, waits, with_endpoints
from mpbond.plan import plan
from mpbond.uplinks import listening
from tests.unit.host import PEER, Nic, backup, config, host, peer, placed, rule, told, uplink, xor

ETH0, ETH1 = uplink("eth0", 0), uplink("eth1", 1)
CALLER = replace(peer(), endpoints=())


def came(ifname: str = "eth0", number: int = 0, remote: str = "198.51.100.7", port: int = 9944) -> Reached:
    return Reached(ifname, ip_address(f"10.0.{number}.2"), ip_address(remote), port)


def laid(*reached: Reached, caller: Peer = CALLER, nics: tuple[Nic, ...] = (ETH0, ETH1)) -> Layout:
    return compute(config(caller), host(*nics), block=8, learnt={PEER: reached})


def shown(layout: Layout) -> list[str]:
    return [told(path) for path in layout.bonds[0].paths]


# ---- what is known ------------------------------------------------------------------


def test_what_comes_is_remembered_once() -> None:
    learnt = Learnt()
    assert learnt.add("a", came())
    assert not learnt.add("a", came())
    assert learnt.add("a", came("eth1", 1)) and learnt.of("a") == (came(), came("eth1", 1))
    learnt.drop("a", came())
    assert learnt.of("a") == (came("eth1", 1),) and learnt.of("b") == ()


def test_a_path_that_comes_by_another_way_leaves_the_one_before() -> None:
    learnt = Learnt()
    learnt.add("a", came())
    assert learnt.add("a", came("eth1", 1), instead=[came()])
    assert learnt.of("a") == (came("eth1", 1),)


def test_a_path_that_comes_by_its_own_way_stays() -> None:
    learnt = Learnt()
    learnt.add("a", came())
    assert not learnt.add("a", came(), instead=[came()])


def test_peers_that_do_not_wait_any_more_are_forgotten() -> None:
    learnt = Learnt()
    learnt.add("a", came())
    learnt.add("b", came())
    learnt.keep(["b", "c"])
    assert learnt.all() == {"b": (came(),)}


REACHED = st.builds(
    came, st.sampled_from(["eth0", "eth1"]), st.integers(0, 1), st.just("198.51.100.7"), st.integers(1, 3)
)


@given(st.lists(st.tuples(REACHED, st.lists(REACHED, max_size=2))))
def test_the_newest_is_always_known(steps: list[tuple[Reached, list[Reached]]]) -> None:
    learnt = Learnt()
    for one, instead in steps:
        before = learnt.of("a")
        news = learnt.add("a", one, instead)
        assert one in learnt.of("a")
        assert len(set(learnt.of("a"))) == len(learnt.of("a"))
        assert news == (learnt.of("a") != before)
        assert set(learnt.of("a")) <= {*before, one}


def test_patience() -> None:
    assert (patience_ns(100), patience_ns(60_000)) == (60 * 10**9, 600 * 10**9)


def test_who_waits() -> None:
    assert waits(CALLER) and not waits(peer())
    assert not waits(with_endpoints(CALLER, [came()]))


# ---- the paths ------------------------------------------------------------------------


def test_no_path_before_the_peer_has_come() -> None:
    assert shown(laid()) == []


def test_a_path_for_each_way() -> None:
    layout = laid(came(), came("eth1", 1, port=40_000), came("eth1", 1, remote="10.0.1.77"))
    assert shown(layout) == [
        "eth0: 10.0.0.2 -> 198.51.100.7 via 10.0.0.1",
        "eth1: 10.0.1.2 -> 198.51.100.7 via 10.0.1.1",
        "eth1: 10.0.1.2 -> 10.0.1.77 via 10.0.1.77",
    ]
    assert [path.key.port for path in layout.bonds[0].paths] == [9944, 40_000, 9944]
    assert layout.bonds[0].peer == CALLER, "the file's"


def test_from_the_address_that_it_came_to() -> None:
    """Not from another one of the link that its router is nearer to."""
    two = replace(ETH0, addresses=("10.0.0.2/24", "192.0.2.99/32"))
    one = Reached("eth0", ip_address("192.0.2.99"), ip_address("198.51.100.7"), 9944)
    assert shown(laid(one, nics=(two,))) == ["eth0: 192.0.2.99 -> 198.51.100.7 via 10.0.0.1"]
    assert shown(laid(one, nics=(ETH0,))) == [], "it is gone"


@pytest.mark.parametrize("policy", [xor(rule("eth1")), backup(rule("eth1"))])
def test_only_on_the_policys_links(policy: object) -> None:
    caller = replace(CALLER, policy=policy)
    assert shown(laid(came(), came("eth1", 1), caller=caller)) == [
        "eth1: 10.0.1.2 -> 198.51.100.7 via 10.0.1.1"
    ]


def test_a_spare_link_makes_a_spare_path() -> None:
    caller = replace(CALLER, policy=backup(rule("eth0"), rule("eth1", "spare")))
    layout = laid(came(), came("eth1", 1), caller=caller)
    assert [path.mode for path in layout.bonds[0].paths] == [LinkMode.PRIMARY, LinkMode.SPARE]


def test_a_path_stays_while_its_link_is_down() -> None:
    before = laid(came(), nics=(ETH0,))
    after = compute(
        config(CALLER), host(ETH0.down()), block=8, placed=placed(before), learnt={PEER: (came(),)}
    )
    assert shown(after) == shown(before) and not after.bonds[0].paths[0].link_up


def test_a_policy_beside_has_its_paths_on_standby() -> None:
    caller = replace(CALLER, policy=xor(rule("eth0")))
    layout = compute(
        config(caller),
        host(ETH0, ETH1),
        block=8,
        beside={PEER: [xor(rule("eth1"))]},
        learnt={PEER: (came(), came("eth1", 1))},
    )
    assert [path.standby for path in layout.bonds[0].paths] == [False, True]


def test_the_block_bounds_them() -> None:
    ways = [came(port=port) for port in range(1, 12)]
    ports = [path.key.port for path in laid(*ways).bonds[0].paths]
    assert ports == list(range(1, 9)), "the first ones"


def test_peers_with_endpoints_have_those_alone() -> None:
    layout = compute(config(peer()), host(ETH0), block=8, learnt={PEER: (came(),)})
    assert [str(path.key.remote) for path in layout.bonds[0].paths] == ["203.0.113.1"]


# ---- listening ------------------------------------------------------------------------


def test_listens_on_every_address_of_the_policys_links() -> None:
    link_local = replace(ETH1, addresses=("10.0.1.2/24", "fe80::1/64", "2001:db8::2/64"))
    layout = laid(nics=(ETH0, link_local))
    assert [str(address) for address in layout.listens] == ["10.0.0.2", "10.0.1.2", "2001:db8::2"]
    assert [name for name, _ in layout.rx] == ["eth0", "eth1"]


def test_does_not_listen_for_peers_with_endpoints() -> None:
    assert compute(config(peer()), host(ETH0, ETH1), block=8).listens == ()


def test_a_link_is_listened_on_while_it_is_down() -> None:
    assert listening([CALLER.policy], host(ETH0.down()), "mp0") == [("eth0", ip_address("10.0.0.2"))]


def test_room_for_a_peer_that_was_never_seen() -> None:
    assert block_size(config(CALLER), host(ETH0, ETH1)) == 16
    assert block_size(config(CALLER), host()) == 8


def test_listening_is_said_and_given_up() -> None:
    before, after = laid(nics=(ETH0, ETH1)), laid(nics=(ETH0,))
    assert "wait for peers at 10.0.1.2" in map(str, plan(before, None))
    assert [str(step) for step in plan(after, before)] == [
        "wait for nobody at 10.0.1.2",
        "stop taking packets on eth1",
    ]


def test_listening_goes_on_when_a_path_goes() -> None:
    steps = plan(laid(nics=(ETH0,)), laid(came(), nics=(ETH0,)))
    removed = [step for step in steps if "remove path" in str(step)]
    assert len(removed) == 1 and not removed[0].last_of_local  # type: ignore[union-attr]


def test_a_peer_that_gets_endpoints_is_listened_for_no_more() -> None:
    wanted: Config = config(peer())
    after = compute(wanted, host(ETH0), block=8, placed=placed(laid(came(), nics=(ETH0,))))
    steps = [str(step) for step in plan(after, laid(came(), nics=(ETH0,)))]
    assert not any("wait for nobody" in step for step in steps), "a path has the address now"
    assert any("remove path 0" in step for step in steps)
