"""active-backup: which path is active, period by period, and who would follow."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from mpbond.config.model import Policy
from mpbond.policies import PathView
from tests.unit.host import backup, rule
from tests.unit.views import assigned, dead, path, periods, spare

METHODS = ("optimize", "always", "better", "failure")

# The primary eth0 is no good; eth2 is the best, but the file says eth0 -> eth1 -> eth3.
ETH0, ETH1, ETH2, ETH3 = (
    path(0, "eth0", 0.5),
    path(1, "eth1", 0.6),
    path(2, "eth2", 0.8),
    path(3, "eth3", 0.3),
)
LTE0 = spare(4, "lte0", 0.9)
BETTER_ETH0 = path(0, "eth0", 0.9)


@dataclass(frozen=True)
class Case:
    """`active`: the active path after one and two periods, by method; `chained` the same
    where the file has failoverTo."""

    why: str
    paths: tuple[PathView, ...]
    before: int | None
    active: dict[str, tuple[int, int]]
    chained: dict[str, tuple[int, int]]


def all_methods(index: int) -> dict[str, tuple[int, int]]:
    return dict.fromkeys(METHODS, (index, index))


CASES = [
    Case(
        "at first the primary is active, though it is not the best",
        (ETH0, ETH1, LTE0),
        None,
        all_methods(0),
        all_methods(0),
    ),
    Case(
        "at first, with the primary down: the best, or who follows it",
        (dead(ETH0), ETH1, ETH2, ETH3, LTE0),
        None,
        all_methods(2),
        all_methods(1),
    ),
    Case(
        "the primary fails",
        (dead(ETH0), ETH1, ETH2, ETH3, LTE0),
        0,
        all_methods(2),
        all_methods(1),
    ),
    Case(
        "the primary fails and who should follow is down: who follows that one",
        (dead(ETH0), dead(ETH1), ETH2, ETH3, LTE0),
        0,
        all_methods(2),
        all_methods(3),
    ),
    Case(
        "the primary returns, worse than the active one",
        (ETH0, ETH1, LTE0),
        1,
        all_methods(1) | {"always": (0, 0)},
        all_methods(1) | {"always": (0, 0)},
    ),
    Case(
        "the primary returns, better than the active one",
        (BETTER_ETH0, ETH1, LTE0),
        1,
        {"optimize": (1, 0), "always": (0, 0), "better": (0, 0), "failure": (1, 1)},
        {"optimize": (1, 0), "always": (0, 0), "better": (0, 0), "failure": (1, 1)},
    ),
    Case(
        "the primary returns, as good as the active one",
        (path(0, "eth0", 0.6), ETH1),
        1,
        all_methods(1) | {"always": (0, 0)},
        all_methods(1) | {"always": (0, 0)},
    ),
    Case(
        "a better link than the primary appears",
        (ETH0, ETH2, LTE0),
        0,
        all_methods(0) | {"optimize": (0, 2)},
        all_methods(0) | {"optimize": (0, 2)},
    ),
    Case(
        "a better link than the active one appears, which is not the primary",
        (dead(ETH0), ETH1, ETH2, LTE0),
        1,
        all_methods(1) | {"optimize": (1, 2)},
        all_methods(1) | {"optimize": (1, 2)},
    ),
    Case(
        "the active one fails while the primary is there: back to it, but for who goes by quality",
        (ETH0, dead(ETH1), ETH2, ETH3, LTE0),
        1,
        {"optimize": (2, 2), "always": (0, 0), "better": (2, 2), "failure": (0, 0)},
        {"optimize": (3, 3), "always": (0, 0), "better": (3, 0), "failure": (3, 3)},
    ),
    Case(
        "the active one fails, the primary is down",
        (dead(ETH0), dead(ETH1), ETH2, ETH3, LTE0),
        1,
        all_methods(2),
        all_methods(3),
    ),
    Case(
        "the active one fails in the moment in which the primary returns",
        (ETH0, dead(ETH1), LTE0),
        1,
        all_methods(0),
        all_methods(0),
    ),
    Case(
        "nothing but a spare is left",
        (dead(ETH0), dead(ETH1), LTE0),
        0,
        all_methods(4),
        all_methods(4),
    ),
    Case(
        "the primary returns while a better spare is in use: left at once, whatever the method",
        (ETH0, LTE0),
        4,
        all_methods(0),
        all_methods(0),
    ),
    Case(
        "another non-spare returns while a better spare is in use",
        (dead(ETH0), ETH1, ETH3, LTE0),
        4,
        all_methods(1),
        all_methods(1),
    ),
    Case(
        "another non-spare returns while a worse spare is in use",
        (dead(ETH0), ETH1, ETH3, spare(4, "lte0", 0.1)),
        4,
        all_methods(1),
        all_methods(1),
    ),
    Case(
        "the spare in use fails: to the primary, to the best or to who follows",
        (ETH0, ETH2, dead(LTE0)),
        4,
        {"optimize": (2, 2), "always": (0, 0), "better": (2, 2), "failure": (0, 0)},
        {"optimize": (2, 2), "always": (0, 0), "better": (2, 2), "failure": (0, 0)},
    ),
    Case(
        "the active path is gone with its link: as at first",
        (ETH0, ETH2),
        1,
        all_methods(0),
        all_methods(0),
    ),
]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.why)
def test_active_without_failover_to(case: Case, method: str) -> None:
    rules = (rule("eth0"), rule("eth1"), rule("eth2"), rule("eth3"), rule("lte0", "spare"))
    policy = backup(*rules, method=method)
    assert tuple(periods(policy, case.paths, case.before)) == case.active[method]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.why)
def test_active_with_failover_to(case: Case, method: str) -> None:
    policy = chained(method)
    assert tuple(periods(policy, case.paths, case.before)) == case.chained[method]


def chained(method: str) -> Policy:
    rules = (rule("eth0", to="eth1"), rule("eth1", to="eth3"), rule("eth2"), rule("eth3"))
    return backup(*rules, rule("lte0", "spare"), method=method)


# ---- who follows: what the kernel does by itself, before any controller wakes ----


@dataclass(frozen=True)
class Order:
    why: str
    policy: Policy
    paths: tuple[PathView, ...]
    order: tuple[int, ...]
    preferred: int
    before: int | None = None


ALL = (ETH0, ETH1, ETH2, ETH3, LTE0)
PLAIN = (rule("eth0"), rule("eth1"), rule("eth2"), rule("eth3"), rule("lte0", "spare"))
TWO_PATHS = (path(0, "eth0", 0.5), path(1, "eth0", 0.1), path(2, "eth1", 0.9))
ORDERS = [
    Order("the active one, then by quality, spares last", backup(*PLAIN), ALL, (0, 2, 1, 3, 4), 4),
    Order("who follows the active one comes before the best", chained("always"), ALL, (0, 1, 3, 2, 4), 4),
    Order(
        "who follows may be a spare; it is the file's word",
        backup(rule("eth0", to="lte0"), rule("eth1"), rule("lte0", "spare")),
        (ETH0, ETH1, LTE0),
        (0, 4, 1),
        1,
    ),
    Order(
        "failure: the primary comes before better ones when the active one fails",
        backup(*PLAIN, method="failure"),
        ALL,
        (1, 0, 2, 3, 4),
        4,
        before=1,
    ),
    Order(
        "but after those that follow",
        chained("failure"),
        ALL,
        (1, 3, 0, 2, 4),
        4,
        before=1,
    ),
    Order(
        "a spare in use leads and is not counted among the others",
        backup(rule("eth0", to="lte0"), rule("eth1"), rule("lte0", "spare"), method="failure"),
        (dead(ETH0), ETH1, LTE0),
        (4, 1),
        0,
        before=0,
    ),
    Order(
        "another path of the active link comes first: a link fails with its last path",
        backup(rule("eth0", to="eth1"), rule("eth1")),
        TWO_PATHS,
        (0, 1, 2),
        3,
    ),
    Order(
        "where no links are listed quality alone counts, and links take turns",
        backup(method="optimize"),
        (path(0, "eth0", 0.9), path(1, "eth0", 0.8), path(2, "eth0", 0.7), path(3, "eth1", 0.2)),
        (0, 1, 3, 2),
        4,
    ),
    Order("nothing eligible", backup(*PLAIN), tuple(map(dead, ALL)), (), 0, before=0),
    Order("no path at all", backup(*PLAIN), (), (), 0),
]


@pytest.mark.parametrize("case", ORDERS, ids=lambda case: case.why)
def test_order(case: Order) -> None:
    found = assigned(case.policy, case.paths, case.before)
    assert (found.order, found.preferred) == (case.order, case.preferred)
    assert found.active == (case.order[0] if case.order else None)
    assert found.shares == {}
