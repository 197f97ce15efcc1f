"""Several paths on a link, ipvPref, optimize's two periods, chains, and balance-xor."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from mpbond.config.model import BasePolicy, LinkMode, Policy
from mpbond.policies import (
    ASSIGN,
    Assignment,
    Memory,
    PathView,
    active_backup,
    balance_aware,
    balance_rr,
    balance_xor,
    broadcast,
    usable,
)
from tests.unit.host import XOR, backup, rule
from tests.unit.views import assigned, dead, path, periods, spare

METHODS = ("optimize", "always", "better", "failure")

# ---- a link fails with its last path ---------------------------------------------

FIRST, SECOND = path(0, "eth0", 0.6), path(1, "eth0", 0.4)
OTHER = path(2, "eth1", 0.42)


@pytest.mark.parametrize("method", METHODS)
def test_a_link_with_another_path_has_not_failed(method: str) -> None:
    """eth1 is no tenth better than the path that is left, and nobody's failoverTo yet."""
    policy = backup(rule("eth0", to="eth1"), rule("eth1"), method=method)
    assert periods(policy, (dead(FIRST), SECOND, OTHER), 0) == [1, 1]


@pytest.mark.parametrize("method", METHODS)
def test_a_link_has_failed_with_its_last_path(method: str) -> None:
    policy = backup(rule("eth0", to="eth1"), rule("eth1"), method=method)
    assert periods(policy, (dead(FIRST), dead(SECOND), OTHER), 0) == [2, 2]


@pytest.mark.parametrize("method", METHODS)
def test_where_no_links_are_listed_it_goes_by_quality(method: str) -> None:
    assert periods(backup(method=method), (dead(FIRST), SECOND, OTHER), 0) == [2, 2]


@pytest.mark.parametrize("method", METHODS)
def test_a_spare_link_in_use_fails_with_its_last_path_too(method: str) -> None:
    policy = backup(rule("eth0"), rule("lte0", "spare"), method=method)
    paths = (dead(FIRST), dead(spare(4, "lte0")), spare(5, "lte0"))
    assert periods(policy, paths, 4) == [5, 5]


def test_of_several_paths_left_on_the_link_the_best_goes_on() -> None:
    policy = backup(rule("eth0", to="eth1"), rule("eth1"), method="failure")
    paths = (dead(FIRST), path(3, "eth0", 0.2), SECOND, OTHER)
    assert periods(policy, paths, 0) == [1, 1]


# ---- failoverTo -------------------------------------------------------------------

CHAIN = (rule("a", to="b"), rule("b", to="c"), rule("c", to="d"), rule("d"), rule("e"))
CHAINED = [path(index, name, index / 10) for index, name in enumerate("abcde")]


@pytest.mark.parametrize(
    ("why", "failed", "active", "follower"),
    [
        ("the next one", "a", 0, 1),
        ("over one that failed too", "ab", 0, 2),
        ("over two", "abc", 0, 3),
        ("from the middle: the rest of the chain", "b", 1, 2),
        ("after the chain's end the best", "abcd", 3, 4),
        ("a link without failoverTo: the best", "e", 4, 3),
    ],
)
def test_a_chain_is_followed(why: str, failed: str, active: int, follower: int) -> None:
    policy = backup(*CHAIN, method="better", primary="a")
    paths = [dead(one) if one.ifname in failed else one for one in CHAINED]
    assert assigned(policy, paths, active).active == follower


def test_a_chain_leads_to_the_best_path_of_its_link() -> None:
    policy = backup(rule("eth0", to="eth1"), rule("eth1"), method="failure")
    paths = (dead(FIRST), path(3, "eth1", 0.2), path(4, "eth1", 0.3))
    assert assigned(policy, paths, 0).order == (4, 3)


@pytest.mark.parametrize("method", METHODS)
def test_a_chain_starts_at_the_link_that_failed_not_at_the_primary(method: str) -> None:
    policy = backup(rule("a", to="e"), rule("b", to="c"), rule("c"), rule("e"), method=method)
    paths = [dead(one) if one.ifname in "ab" else one for one in CHAINED]
    assert assigned(policy, paths, 1).active == 2


def test_a_circle_of_links_has_an_end() -> None:
    """No file that loads has one; a hang would be the wrong answer all the same."""
    policy = backup(rule("a", to="b"), rule("b", to="a"))
    assert assigned(policy, CHAINED, 0).order == (0, 1, 4, 3, 2)


def test_a_spare_that_follows_stays_while_the_primary_is_down() -> None:
    policy = backup(rule("eth0", to="lte0"), rule("eth1"), rule("lte0", "spare"), method="always")
    assert periods(policy, (dead(FIRST), OTHER, spare(4, "lte0")), 0) == [4, 4]


# ---- optimize -----------------------------------------------------------------------

ACTIVE, BEST, RIVAL = path(0, "eth0", 0.5), path(1, "eth1", 0.8), path(2, "eth2", 0.9)


def run(*rounds: tuple[PathView, ...], active: int = 0) -> list[int | None]:
    """The active path after each round, one memory through all."""
    policy, memory = backup(method="optimize"), Memory()
    found: list[int | None] = []
    for paths in rounds:
        active = active_backup(policy, paths, active, memory).active or 0
        found.append(active)
    return found


LEAD, EQUAL = (ACTIVE, BEST), (ACTIVE, replace(BEST, score=0.55))
PAST_RIVAL = (replace(BEST, score=1.0), RIVAL)
OPTIMIZE = [
    ("a tenth more is not more than a tenth", (EQUAL, EQUAL, EQUAL), [0, 0, 0]),
    ("a hair more is, after two periods", ((ACTIVE, replace(BEST, score=0.5501)),) * 3, [0, 1, 1]),
    ("the lead must be unbroken", (LEAD, EQUAL, LEAD, LEAD), [0, 0, 0, 1]),
    ("and one path's", (LEAD, (ACTIVE, BEST, RIVAL), LEAD, LEAD), [0, 0, 0, 1]),
    ("having moved it starts anew", (LEAD, LEAD, (ACTIVE, BEST, RIVAL), (ACTIVE, BEST, RIVAL)), [0, 1, 1, 2]),
    (
        "a failure in between ends the count",
        (LEAD, (dead(ACTIVE), dead(BEST), RIVAL), PAST_RIVAL, PAST_RIVAL),
        [0, 2, 2, 1],
    ),
    ("silence in between ends the count", (LEAD, (dead(ACTIVE),), LEAD, LEAD), [0, 0, 0, 1]),
]


@pytest.mark.parametrize(("why", "rounds", "expected"), OPTIMIZE, ids=[row[0] for row in OPTIMIZE])
def test_optimize(why: str, rounds: tuple[tuple[PathView, ...], ...], expected: list[int]) -> None:
    assert run(*rounds) == expected


def test_a_better_spare_is_no_challenger() -> None:
    policy = backup(rule("eth0"), rule("lte0", "spare"), method="optimize")
    assert periods(policy, (ACTIVE, spare(1, "lte0", 1.0)), 0, count=3) == [0, 0, 0]


def test_among_spares_the_best_is_found() -> None:
    policy = backup(rule("eth0"), rule("lte0", "spare"), rule("lte1", "spare"), method="optimize")
    paths = (dead(ACTIVE), spare(1, "lte0", 0.5), spare(2, "lte1", 0.9))
    assert periods(policy, paths, 1) == [1, 2]


# ---- ipvPref ------------------------------------------------------------------------


@dataclass(frozen=True)
class Family:
    why: str
    paths: tuple[PathView, ...]
    usable: tuple[int, ...]


def families(ifname: str, ipv: int, *, first: int = 0) -> tuple[PathView, PathView]:
    return path(first, ifname, version=4, ipv=ipv), path(first + 1, ifname, version=6, ipv=ipv)


A4, A6 = families("a", 46)
B4, B6 = families("b", 64, first=2)
C4, C6 = families("c", 0, first=4)
FAMILIES = [
    Family("46: IPv4 while it works", (A4, A6), (0,)),
    Family("46: else IPv6", (dead(A4), A6), (1,)),
    Family("46: IPv4 alone is fine", (A4, dead(A6)), (0,)),
    Family("64: IPv6 while it works", (B4, B6), (3,)),
    Family("64: else IPv4", (B4, dead(B6)), (2,)),
    Family("0: both", (C4, C6), (4, 5)),
    Family("another link's IPv4 holds nothing back", (dead(A4), A6, B4, dead(B6), C4, C6), (1, 2, 4, 5)),
    Family("neither works", (dead(A4), dead(A6)), ()),
]


@pytest.mark.parametrize("case", FAMILIES, ids=lambda case: case.why)
def test_ipv_pref(case: Family) -> None:
    assert tuple(one.index for one in usable(case.paths)) == case.usable


@pytest.mark.parametrize("method", METHODS)
def test_the_family_changes_within_the_link(method: str) -> None:
    """The active path is well, but its link's other family is preferred and back."""
    policy = backup(rule("a", ipv=46, to="c"), rule("c"), method=method)
    assert periods(policy, (A4, A6, C4), 1) == [0, 0]


# ---- balance-xor --------------------------------------------------------------------


@dataclass(frozen=True)
class Shares:
    why: str
    paths: tuple[PathView, ...]
    order: tuple[int, ...]
    preferred: int
    shares: dict[int, float]


def link(first: int, ifname: str, count: int) -> tuple[PathView, ...]:
    return tuple(path(first + n, ifname) for n in range(count))


SHARES = [
    Shares("one path takes all", link(0, "a", 1), (0,), 1, {0: 1.0}),
    Shares(
        "links are equal, whatever their scores",
        (path(0, "a", 0.1), path(1, "b", 0.9)),
        (0, 1),
        2,
        {0: 1.0, 1: 1.0},
    ),
    Shares(
        "a link's paths share its share; order takes a path of each link in turn",
        (*link(0, "a", 4), *link(4, "b", 1), *link(5, "c", 2)),
        (0, 4, 5, 1, 6, 2, 3),
        7,
        {0: 0.25, 1: 0.25, 2: 0.25, 3: 0.25, 4: 1.0, 5: 0.5, 6: 0.5},
    ),
    Shares(
        "a path that is not eligible leaves its share to its link's others",
        (path(0, "a"), dead(path(1, "a")), path(2, "b")),
        (0, 2),
        2,
        {0: 1.0, 2: 1.0},
    ),
    Shares(
        "spares carry nothing and come last",
        (spare(0, "a"), path(1, "b"), path(2, "c")),
        (1, 2, 0),
        2,
        {1: 1.0, 2: 1.0},
    ),
    Shares(
        "spares carry when nothing else can",
        (spare(0, "a"), dead(path(1, "b")), spare(2, "c")),
        (0, 2),
        0,
        {0: 1.0, 2: 1.0},
    ),
    Shares("ipvPref counts here too", (A4, A6, C4), (0, 4), 2, {0: 1.0, 4: 1.0}),
    Shares("nothing eligible", (dead(path(0, "a")),), (), 0, {}),
    Shares("no path at all", (), (), 0, {}),
]


@pytest.mark.parametrize("case", SHARES, ids=lambda case: case.why)
def test_balance_xor(case: Shares) -> None:
    found = balance_xor(XOR, case.paths, None, Memory())
    assert found == Assignment(case.order, case.preferred, case.shares, None)


def test_no_bond_is_active_backup_over_whatever_there_is() -> None:
    none = Policy("none", BasePolicy.NONE)
    assert ASSIGN[BasePolicy.NONE](none, (ACTIVE, BEST), None, Memory()).active == 1


@pytest.mark.parametrize("base", ASSIGN)
def test_every_policy_orders_exactly_the_usable_paths(base: BasePolicy) -> None:
    paths = (*CHAINED, dead(path(7, "x")), spare(8, "y"), A6)
    found = ASSIGN[base](replace(XOR, base=base), paths, None, Memory())
    assert sorted(found.order) == sorted(one.index for one in usable(paths))
    by_index = {one.index: one for one in usable(paths)}
    leading = [by_index[index] for index in found.order[: found.preferred]]
    if base is BasePolicy.BROADCAST:
        assert len(leading) == len({one.ifname for one in by_index.values()}), "a path of every link"
    else:
        assert all(one.mode is LinkMode.PRIMARY for one in leading)


# ---- broadcast ----------------------------------------------------------------------

BROADCAST = Policy("broadcast", BasePolicy.BROADCAST)
COPIES = [
    Shares("one path, one copy", link(0, "a", 1), (0,), 1, {0: 1.0}),
    Shares(
        "the best path of every link, the best link first, then the links' other paths",
        (path(0, "a", 0.2), path(1, "a", 0.5), path(2, "b", 0.9), path(3, "b", 0.1), path(4, "c", 0.3)),
        (2, 1, 4, 0, 3),
        3,
        {2: 1.0, 1: 1.0, 4: 1.0},
    ),
    Shares(
        "a link whose best path fails goes on with its other",
        (path(0, "a", 0.9), dead(path(1, "b", 0.9)), path(2, "b", 0.1)),
        (0, 2),
        2,
        {0: 1.0, 2: 1.0},
    ),
    Shares(
        "a link that fails takes its copy along",
        (path(0, "a"), dead(path(1, "b")), path(2, "c")),
        (0, 2),
        2,
        {0: 1.0, 2: 1.0},
    ),
    Shares("ipvPref counts here too", (A4, A6, C4, C6), (0, 4, 5), 2, {0: 1.0, 4: 1.0}),
    Shares("nothing eligible", (dead(path(0, "a")),), (), 0, {}),
    Shares("no path at all", (), (), 0, {}),
]


@pytest.mark.parametrize("case", COPIES, ids=lambda case: case.why)
def test_broadcast(case: Shares) -> None:
    found = broadcast(BROADCAST, case.paths, None, Memory())
    assert found == Assignment(case.order, case.preferred, case.shares, None)


# ---- balance-rr ---------------------------------------------------------------------

RR = Policy("balance-rr", BasePolicy.BALANCE_RR)
TURNS = [
    Shares(
        "every path in turn, by number and not by quality",
        (path(0, "a", 0.1), path(1, "b", 0.9), path(2, "a", 0.5)),
        (0, 1, 2),
        3,
        {0: 1.0, 1: 1.0, 2: 1.0},
    ),
    Shares(
        "spares have no turn while another path is eligible",
        (spare(0, "a", 0.9), path(1, "b"), dead(path(2, "c"))),
        (1, 0),
        1,
        {1: 1.0},
    ),
    Shares(
        "and take turns when nothing else can",
        (spare(0, "a"), dead(path(1, "b")), spare(2, "c")),
        (0, 2),
        0,
        {0: 1.0, 2: 1.0},
    ),
]


@pytest.mark.parametrize("case", TURNS, ids=lambda case: case.why)
def test_balance_rr(case: Shares) -> None:
    found = balance_rr(RR, case.paths, None, Memory())
    assert found == Assignment(case.order, case.preferred, case.shares, None)


# ---- balance-aware ------------------------------------------------------------------

AWARE = Policy("balance-aware", BasePolicy.BALANCE_AWARE)


def bad(view: PathView) -> PathView:
    return replace(view, avoided=True)


WEIGHED = [
    Shares("none avoided: as balance-xor", link(0, "a", 2), (0, 1), 2, {0: 0.5, 1: 0.5}),
    Shares(
        "an avoided path takes over after the others and before the spares",
        (bad(path(0, "a")), path(1, "b"), spare(2, "c"), path(3, "d")),
        (1, 3, 0, 2),
        2,
        {1: 1.0, 3: 1.0},
    ),
    Shares(
        "what it was due is its link's other paths'",
        (bad(path(0, "a")), path(1, "a"), path(2, "b")),
        (1, 2, 0),
        2,
        {1: 1.0, 2: 1.0},
    ),
    Shares(
        "all avoided: all carry, no spare does",
        (bad(path(0, "a")), bad(path(1, "b")), spare(2, "c")),
        (0, 1, 2),
        2,
        {0: 1.0, 1: 1.0},
    ),
    Shares(
        "among spares too",
        (bad(spare(0, "a")), spare(1, "b"), dead(path(2, "c"))),
        (1, 0),
        0,
        {1: 1.0},
    ),
    Shares("no path at all", (), (), 0, {}),
]


@pytest.mark.parametrize("case", WEIGHED, ids=lambda case: case.why)
def test_balance_aware(case: Shares) -> None:
    found = balance_aware(AWARE, case.paths, None, Memory())
    assert (found.order, found.preferred, found.active) == (case.order, case.preferred, None)
    assert found.shares == pytest.approx(case.shares)


# ---- limits under active-backup -------------------------------------------------------


def test_optimize_leaves_a_path_over_a_limit_at_once() -> None:
    assert run((bad(path(0, "eth0", 0.5)), path(1, "eth1", 0.4))) == [1]
    assert run((bad(path(0, "eth0", 0.5)), bad(path(1, "eth1", 0.52)))) == [0], "none that is better"


def test_better_does_not_return_to_a_primary_over_a_limit() -> None:
    policy = backup(rule("eth0"), rule("eth1"), method="better")
    paths = (bad(path(0, "eth0", 0.9)), path(1, "eth1", 0.3))
    assert periods(policy, paths, 1) == [1, 1]
    assert periods(policy, (paths[0], bad(paths[1])), 1) == [0, 0], "both are: by quality"


@pytest.mark.parametrize("method", ["always", "failure"])
def test_who_does_not_go_by_quality_goes_by_no_limit(method: str) -> None:
    policy = backup(rule("eth0"), rule("eth1"), method=method)
    paths = (bad(path(0, "eth0", 0.1)), path(1, "eth1", 0.9))
    assert periods(policy, paths, 0) == [0, 0]


@pytest.mark.parametrize("method", METHODS)
def test_among_those_that_follow_who_is_over_a_limit_comes_last(method: str) -> None:
    policy = backup(rule("eth0"), rule("eth1"), rule("eth2"), method=method)
    paths = (dead(path(0, "eth0")), bad(path(1, "eth1", 0.9)), path(2, "eth2", 0.3))
    assert periods(policy, paths, 0) == [2, 2]
