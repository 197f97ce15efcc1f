"""A bond as the controller follows it: health, failovers, and changes of its paths."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from mpbond.config.model import BasePolicy, Policy, SelectMethod
from mpbond.controller.bond import BondState
from mpbond.health import State
from mpbond.layout import BondSpec, Layout, compute
from mpbond.priorities import Precedence, Reach
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
    assert made.health[8].restless
    assert not made.observe(8, True, 59 * MS)
    assert made.observe(8, True, 60 * MS)
    assert not made.health[8].restless


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


# ---- flapping ------------------------------------------------------------------------


def test_a_held_path_is_let_go_where_nothing_else_is_left() -> None:
    made = state(replace(BACKUP, failover_interval_ms=100), *NICS[:2])
    for at in range(1, 4):
        made.observe(8, True, 10 * at * MS)
        made.observe(8, False, (10 * at + 5) * MS)
    made.observe(9, True, 50 * MS)
    made.observe(8, True, 60 * MS)
    assert (made.health[8].state, made.relieve(60 * MS)) == (State.HELD, [])
    made.observe(9, False, 70 * MS)
    assert made.relieve(70 * MS) == [8]
    assert made.assign().active == 8


def test_up_delay_is_served_also_where_nothing_else_is_left() -> None:
    made = state(replace(BACKUP, up_delay_ms=100))
    made.observe(8, True, MS)
    assert made.relieve(2 * MS) == []


def test_hold_begins_with_the_policys_failover_interval() -> None:
    made = state(replace(BACKUP, failover_interval_ms=700))
    for alive in (True, False, True, False, True):
        made.observe(8, alive, MS)
    assert made.health[8].held_ns(MS) == 700 * MS


# ---- the peer's spares -----------------------------------------------------------------


def modes(made: BondState) -> list[str]:
    return [view.mode.value for view in made.views()]


LTE = backup(rule("eth0"), rule("eth1"), rule("eth2", "spare"))


@pytest.mark.parametrize(
    ("why", "policy", "heard", "found"),
    [
        ("nothing heard", LTE, {}, "primary primary spare"),
        ("either end's word makes a spare", LTE, {8}, "spare primary spare"),
        ("both say so", LTE, {10}, "primary primary spare"),
        ("under balance-xor too", xor(), {8}, "spare primary primary"),
        ("not all of them: then our own word stands", LTE, {8, 9}, "primary primary spare"),
        ("nor where the peer calls all spares", xor(), {8, 9, 10}, "primary primary primary"),
        ("broadcast has none", replace(xor(), base=BasePolicy.BROADCAST), {8}, "primary primary primary"),
    ],
)
def test_modes(why: str, policy: Policy, heard: set[int], found: str) -> None:
    made = state(policy)
    made.peer_spares = frozenset(heard)
    assert modes(made) == found.split()
    by_peer = {
        8 + at for at, (mode, own) in enumerate(zip(modes(made), own_modes(made), strict=True)) if mode != own
    }
    assert made.demoted() == by_peer


NEAR, FAR = Precedence(Reach.LAN, 10), Precedence(Reach.WAN, 30)


@dataclass(frozen=True)
class Classes:
    """Three paths, by number: which are near, which alive; what they are then."""

    why: str
    policy: Policy
    near: set[int]
    alive: set[int]
    found: str
    peer_spares: set[int] = field(default_factory=set)
    tolerance: int = 0


CLASSES = [
    Classes("all far", xor(), set(), {8, 9, 10}, "primary primary primary"),
    Classes("a near one lives", xor(), {9}, {8, 9, 10}, "spare primary spare"),
    Classes("two near ones live", xor(), {8, 9}, {8, 9, 10}, "primary primary spare"),
    Classes("the near one is dead", xor(), {9}, {8, 10}, "primary primary primary"),
    Classes(
        "the near one alone is no better than a spare to the peer",
        xor(),
        {9},
        {8, 9},
        "primary spare primary",
        {9},
    ),
    Classes("within the threshold", xor(), {9}, {8, 9, 10}, "primary primary primary", tolerance=20),
    Classes("the policy lists its links", LTE, {9}, {8, 9, 10}, "primary primary spare"),
    Classes(
        "broadcast has no spares",
        replace(xor(), base=BasePolicy.BROADCAST),
        {9},
        {8, 9},
        "primary primary primary",
    ),
    Classes(
        "active-backup without a list",
        replace(BACKUP, links=(), primary=None),
        {9},
        {8, 9, 10},
        "spare primary spare",
    ),
]


@pytest.mark.parametrize("case", CLASSES, ids=lambda case: case.why)
def test_far_paths_are_spares_while_a_near_one_lives(case: Classes) -> None:
    made = state(case.policy)
    made.precedence = {index: NEAR if index in case.near else FAR for index in made.health}
    made.peer_spares, made.tolerance = frozenset(case.peer_spares), case.tolerance
    for index in case.alive:
        made.observe(index, True, MS)
    assert modes(made) == case.found.split()


def test_a_path_of_a_worse_class_takes_over_and_gives_back() -> None:
    made = running(replace(BACKUP, links=(), primary=None))
    made.precedence = {8: FAR, 9: NEAR, 10: FAR}
    assert made.assign().active == 9
    made.observe(9, False, 3000 * MS)
    assert made.assign().active in (8, 10)
    made.observe(9, True, 90_000 * MS)
    made.observe(9, True, 99_000 * MS)
    assert made.assign().active == 9
    assert made.demoted() == {8, 10}


def test_where_links_are_listed_the_class_decides_between_equals_alone() -> None:
    made = running(replace(BACKUP, primary=None))
    made.precedence = {8: FAR, 9: FAR, 10: NEAR}
    assert made.assign().order == (8, 10, 9)
    made.active, made.scores = None, {8: 0.9, 9: 1.0, 10: 0.9}
    assert made.assign().order == (9, 10, 8)


def own_modes(made: BondState) -> list[str]:
    return [path.mode.value for path in made.spec.paths]


@pytest.mark.parametrize("policy", [BACKUP, replace(BACKUP, link_select_method=SelectMethod.FAILURE), xor()])
def test_what_the_peer_calls_a_spare_is_left(policy: Policy) -> None:
    made = running(policy)
    made.peer_spares = frozenset({8})
    found = made.assign()
    assert (found.order[0], found.order[-1], found.preferred) == (9, 8, 2)
    assert found.active in (9, None)
    assert 8 not in found.shares
    for index in (9, 10):
        made.observe(index, False, 2 * MS)
    found = made.assign()
    assert found.order == (8,)
    assert found.active in (8, None)


# ---- rotate, and other policies ----------------------------------------------------------


def test_rotate_is_assigned_and_stays() -> None:
    made = running()
    assert (made.active, made.rotate()) == (8, 9)
    assert [made.assign(period=period).active for period in (False, True, True)] == [9, 9, 9]
    assert made.failovers == 0
    made.observe(9, False, 2 * MS)
    assert made.failovers == 1
    assert made.assign().active == 8
    made.observe(9, True, 3 * MS)
    assert made.assign().active == 8


def test_nothing_to_rotate_to() -> None:
    made = state()
    assert made.rotate() is None
    made.observe(8, True, MS)
    made.assign()
    assert made.rotate() is None
    assert made.assign().active == 8


def test_between_periods_a_challengers_lead_does_not_grow() -> None:
    made = running(backup(method="optimize"))
    made.scores = {8: 0.5, 9: 0.9, 10: 0.1}
    made.active = 8
    for _ in range(5):
        assert made.assign(period=False).active == 8
    assert [made.assign().active for _ in range(2)] == [8, 9]


def test_another_policy_forgets_what_the_one_before_remembered() -> None:
    made = running()
    made.rotate()
    made.assign()
    made.respec(spec(replace(BACKUP, name="other"), *NICS))
    assert made.assign().active == 8


def test_a_policy_that_spreads_has_no_active_path() -> None:
    made = running()
    made.respec(spec(xor(), *NICS))
    assert made.active is None
    assert made.assign().active is None
    made.adopt({8}, active=8, failovers=0)
    assert made.active is None


def test_paths_on_standby_are_watched_and_not_used() -> None:
    only = backup(rule("eth0"))
    peers = peer(ident="bbcdef0123", allowed=("10.7.0.0/16",)), peer(policy=only)
    both = compute(config(*peers), host(*NICS), block=BLOCK, beside={peers[1].id: [BACKUP]}).bonds[1]
    assert [(path.key.ifname, path.standby) for path in both.paths] == [
        ("eth0", False),
        ("eth1", True),
        ("eth2", True),
    ]
    made = BondState(both, BLOCK)
    made.respec(both)
    for index in (8, 9, 10):
        made.observe(index, True, MS)
    assert made.assign().order == (8,)
    made.observe(8, False, 2 * MS)
    assert (made.assign().order, made.relieve(2 * MS)) == ((), [])
    assert made.health[9].eligible


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
