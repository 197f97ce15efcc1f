"""A bond as the controller follows it: health, failovers, and changes of its paths."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mpbond.config.model import Policy
from mpbond.controller.bond import BondState
from mpbond.health import State
from mpbond.layout import BondSpec, Layout, compute
from tests.unit.host import REMOTE, Nic, backup, config, host, peer, placed, rule, uplink, xor

MS = 1_000_000
BLOCK = 8
NICS = tuple(uplink(f"eth{n}", n, ifindex=10 + n) for n in range(3))
BACKUP = backup(rule("eth0"), rule("eth1"), rule("eth2"))


def laid(policy: Policy, *nics: Nic, before: Layout | None = None) -> Layout:
    """The bond under test is the second one, so that its indices start at 8."""
    peers = peer(ident="bbcdef0123", allowed=("10.7.0.0/16",)), peer(policy=policy)
    return compute(config(*peers), host(*nics), block=BLOCK, placed=placed(before) if before else None)


def spec(policy: Policy, *nics: Nic) -> BondSpec:
    return laid(policy, *nics).bonds[1]


def state(policy: Policy = BACKUP, *nics: Nic) -> BondState:
    wanted = spec(policy, *(nics or NICS))
    made = BondState(wanted, BLOCK)
    made.respec(wanted)
    return made


def running(policy: Policy = BACKUP) -> BondState:
    """All paths alive and assigned."""
    made = state(policy)
    for index in made.health:
        made.observe(index, True, MS)
    made.assign()
    return made


def test_indices_are_the_bonds_block_and_the_paths_number() -> None:
    made = state()
    assert [made.index_of(path) for path in made.spec.paths] == [8, 9, 10]
    assert made.health.keys() == {8, 9, 10}


def test_views_say_what_the_policy_needs() -> None:
    lte = backup(rule("eth0", ipv=46), rule("eth1", "spare"))
    made = state(lte)
    made.observe(9, True, 0)
    made.scores[9] = 0.25
    first, second = made.views()
    assert (first.index, first.ifname, first.version, first.mode, first.ipv_pref) == (
        8,
        "eth0",
        4,
        "primary",
        46,
    )
    assert (second.index, second.mode, second.eligible, second.score) == (9, "spare", True, 0.25)
    assert (first.eligible, first.score) == (False, 1.0)


def test_nothing_alive_is_nothing_assigned() -> None:
    made = state()
    assert made.assign().order == ()
    assert made.active is None


def test_the_active_path_is_remembered_while_everything_is_silent() -> None:
    """So that who comes back first finds the failoverTo of the link that failed."""
    made = state(backup(rule("eth0", to="eth2"), rule("eth1"), rule("eth2")))
    for index in (8, 9, 10):
        made.observe(index, True, MS)
    made.assign()
    for index in (8, 9, 10):
        made.observe(index, False, 2 * MS)
    assert (made.assign().active, made.active) == (None, 8)
    made.observe(9, True, 3 * MS)
    made.observe(10, True, 3 * MS)
    assert made.assign().active == 10


def test_up_delay_is_the_policys() -> None:
    made = state(replace(BACKUP, up_delay_ms=50))
    assert not made.observe(8, True, 10 * MS)
    assert made.waiting()
    assert not made.observe(8, True, 59 * MS)
    assert made.observe(8, True, 60 * MS)
    assert not made.waiting()


FAILOVERS = [
    ("the active path dies", BACKUP, 8, 1),
    ("a path that stands by dies", BACKUP, 9, 0),
    ("a path that carries its share dies", xor(), 9, 1),
    ("a spare that carries nothing dies", xor(rule("eth0"), rule("eth1"), rule("eth2", "spare")), 10, 0),
]


@pytest.mark.parametrize(
    ("why", "policy", "index", "failovers"), FAILOVERS, ids=[row[0] for row in FAILOVERS]
)
def test_failovers(why: str, policy: Policy, index: int, failovers: int) -> None:
    made = running(policy)
    made.observe(index, False, 2 * MS)
    made.observe(index, False, 3 * MS)
    assert made.failovers == failovers


def test_a_path_that_never_served_its_up_delay_is_no_failover() -> None:
    made = state(replace(xor(), up_delay_ms=50))
    made.observe(8, True, MS)
    made.observe(8, False, 2 * MS)
    assert made.failovers == 0


# ---- other paths -------------------------------------------------------------------


def test_what_stays_keeps_its_health_and_score() -> None:
    made = running()
    made.scores = {8: 0.1, 9: 0.2, 10: 0.3}
    before = laid(BACKUP, *NICS)
    made.respec(laid(BACKUP, NICS[0], NICS[2], before=before).bonds[1])
    assert {index: health.state for index, health in made.health.items()} == {8: State.UP, 10: State.UP}
    assert made.scores == {8: 0.1, 10: 0.3}


def test_what_comes_starts_from_nothing() -> None:
    made = state(BACKUP, *NICS[:2])
    made.observe(8, True, MS)
    before = laid(BACKUP, *NICS[:2])
    made.respec(laid(BACKUP, *NICS, before=before).bonds[1])
    assert made.health[10].state is State.DOWN


def test_a_path_that_takes_anothers_number_does_not_take_its_health() -> None:
    """eth1 is renumbered: its new path is number 1 again, and nothing is known of it."""
    made = running()
    made.scores = {8: 0.1, 9: 0.2, 10: 0.3}
    moved = replace(NICS[1], addresses=("10.0.1.7/24",))
    made.respec(laid(BACKUP, NICS[0], moved, NICS[2], before=laid(BACKUP, *NICS)).bonds[1])
    assert [str(path.key.local) for path in made.spec.paths] == ["10.0.0.2", "10.0.1.7", "10.0.2.2"]
    assert made.health[9].state is State.DOWN
    assert 9 not in made.scores


def test_nor_is_it_active_in_its_place() -> None:
    """Under `failure` eth1 would stay active; its successor in number 1 is another link's."""
    policy = replace(xor(), base=BACKUP.base)
    made = state(policy)
    made.observe(9, True, MS)
    made.assign()
    assert made.active == 9
    before = laid(policy, *NICS)
    other = uplink("eth5", 5, ifindex=15)
    made.respec(laid(policy, NICS[0], other, NICS[2], before=before).bonds[1])
    assert made.active is None


def test_another_policy_keeps_health_and_active_path() -> None:
    made = running(BACKUP)
    other = replace(BACKUP, name="other", up_delay_ms=500)
    made.respec(spec(other, *NICS))
    assert made.active == 8
    assert all(health.eligible for health in made.health.values())


# ---- adopting ------------------------------------------------------------------------


def test_adopted_paths_are_up_without_up_delay() -> None:
    made = state(replace(BACKUP, up_delay_ms=60_000))
    made.adopt({8, 10, 77}, active=10, failovers=3)
    assert [made.health[index].eligible for index in (8, 9, 10)] == [True, False, True]
    assert (made.active, made.failovers) == (10, 3)


def test_an_adopted_active_path_that_is_not_ours_is_none() -> None:
    made = state()
    made.adopt(set(), active=0xFFFF, failovers=0)
    assert made.active is None


def test_the_death_of_an_adopted_active_path_is_a_failover() -> None:
    made = state()
    made.adopt({8, 9}, active=8, failovers=3)
    made.observe(8, False, MS)
    assert made.failovers == 4
    assert made.assign().active == 9


def test_the_remote_is_the_same_all_along() -> None:
    """Guards the layouts above: every path leads to the same endpoint."""
    assert {str(path.key.remote) for path in spec(BACKUP, *NICS).paths} == {REMOTE}
