"""active-backup as a machine with a memory: the four methods through one long story,
with and without failoverTo; then rotation by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from mpbond.config.model import LinkMode, Policy
from mpbond.policies import Memory, PathView, active_backup, next_in_turn
from tests.unit.host import backup, rule
from tests.unit.views import dead, path, spare

PERIODS = 3  # enough for `optimize` to make up its mind


@dataclass
class Bond:
    """A policy, its memory, and paths that events change."""

    policy: Policy
    paths: dict[str, PathView]
    memory: Memory = field(default_factory=Memory)
    active: int | None = None

    def settle(self) -> str | None:
        """What is active once nothing moves any more."""
        for _ in range(PERIODS):
            found = active_backup(self.policy, list(self.paths.values()), self.active, self.memory)
            self.active = found.active if found.active is not None else self.active
        by_index = {one.index: name for name, one in self.paths.items()}
        return by_index[found.active] if found.active is not None else None

    def of(self, who: str) -> list[str]:
        """The links of an event: `active`, `all but lte0`, or names."""
        if who == "active":
            return [name for name, one in self.paths.items() if one.index == self.active]
        if who == "all but lte0":
            return [name for name in self.paths if name != "lte0"]
        return who.split("+")

    def happen(self, event: str) -> str | None:
        """`X fails`, `X returns`, `X scores N`, `rotate`, `start`."""
        who, _, what = event.rpartition(" ") if " scores " not in event else event.partition(" scores ")
        if event == "rotate":
            following = next_in_turn(list(self.paths.values()), self.active or 0)
            assert following is not None
            self.active = following.index
            self.memory.rotate()
        for name in self.of(who) if event not in ("rotate", "start") else []:
            one = self.paths[name]
            if " scores " in event:
                self.paths[name] = replace(one, score=float(what))
            else:
                self.paths[name] = replace(one, eligible=what == "returns")
        return self.settle()


def bond(method: str, *, chained: bool) -> Bond:
    """The primary eth0 is the worst, the spare the best. failoverTo: eth0 -> eth1."""
    rules = (rule("eth0", to="eth1" if chained else None), rule("eth1"), rule("eth2"), rule("lte0", "spare"))
    paths = (path(0, "eth0", 0.5), path(1, "eth1", 0.6), path(2, "eth2", 0.8), spare(3, "lte0", 0.95))
    return Bond(backup(*rules, method=method), {one.ifname: one for one in paths})


# Event, then the active link by method (optimize, always, better, failure): without
# failoverTo, and with eth0 -> eth1.
STORY: list[tuple[str, str, str]] = [
    ("start", "eth2 eth0 eth0 eth0", "eth2 eth0 eth0 eth0"),
    ("eth0 fails", "eth2 eth2 eth2 eth2", "eth2 eth1 eth1 eth1"),
    ("eth0 returns", "eth2 eth0 eth2 eth2", "eth2 eth0 eth1 eth1"),
    ("eth1 scores 0.9", "eth1 eth0 eth2 eth2", "eth1 eth0 eth1 eth1"),
    ("eth1 scores 0.6", "eth2 eth0 eth2 eth2", "eth2 eth0 eth1 eth1"),
    ("eth0 scores 0.9", "eth0 eth0 eth0 eth2", "eth0 eth0 eth0 eth1"),
    ("active fails", "eth2 eth2 eth2 eth0", "eth2 eth1 eth1 eth0"),
    ("eth0+eth1+eth2 returns", "eth0 eth0 eth0 eth0", "eth0 eth0 eth0 eth0"),
    ("rotate", "eth1 eth1 eth1 eth1", "eth1 eth1 eth1 eth1"),
    ("eth2 scores 1.0", "eth1 eth1 eth1 eth1", "eth1 eth1 eth1 eth1"),
    ("eth0 fails", "eth1 eth1 eth1 eth1", "eth1 eth1 eth1 eth1"),
    ("eth0 returns", "eth1 eth0 eth0 eth1", "eth1 eth0 eth0 eth1"),
    ("all but lte0 fails", "lte0 lte0 lte0 lte0", "lte0 lte0 lte0 lte0"),
    ("eth1 returns", "eth1 eth1 eth1 eth1", "eth1 eth1 eth1 eth1"),
    ("eth2 returns", "eth2 eth1 eth1 eth1", "eth2 eth1 eth1 eth1"),
    ("eth0 returns", "eth2 eth0 eth0 eth1", "eth2 eth0 eth0 eth1"),
    ("all but lte0 fails", "lte0 lte0 lte0 lte0", "lte0 lte0 lte0 lte0"),
    ("lte0 fails", "None None None None", "None None None None"),
    ("lte0+eth2 returns", "eth2 eth2 eth2 eth2", "eth2 eth2 eth2 eth2"),
]


@pytest.mark.parametrize("chained", [False, True], ids=["plain", "failoverTo"])
@pytest.mark.parametrize(("at", "method"), list(enumerate(["optimize", "always", "better", "failure"])))
def test_story(at: int, method: str, chained: bool) -> None:
    told = bond(method, chained=chained)
    found = [(event, str(told.happen(event))) for event, _, _ in STORY]
    assert found == [(event, (linked if chained else plain).split()[at]) for event, plain, linked in STORY]


@pytest.mark.parametrize("method", ["optimize", "always", "better", "failure"])
def test_no_spare_is_in_use_while_another_can_be(method: str) -> None:
    """Through every up and down of four links; failoverTo names no spare here."""
    told = bond(method, chained=True)
    names = list(told.paths)
    for step in range(2000):
        name = names[(step * 7 + step // 11) % 4]
        told.happen(f"{name} {'returns' if step * 2654435761 % 5 < 3 else 'fails'}")
        here = [one for one in told.paths.values() if one.eligible]
        active = next((one for one in here if one.index == told.active), None)
        assert active is not None or not here
        if any(one.mode is LinkMode.PRIMARY for one in here):
            assert active is not None and active.mode is LinkMode.PRIMARY, step


# ---- a spare that failoverTo names -------------------------------------------------------


def to_the_spare(method: str) -> Bond:
    rules = (rule("eth0"), rule("eth1", to="lte0"), rule("eth2"), rule("lte0", "spare"))
    paths = (path(0, "eth0", 0.5), path(1, "eth1", 0.6), path(2, "eth2", 0.8), spare(3, "lte0", 0.1))
    return Bond(backup(*rules, method=method), {one.ifname: one for one in paths})


@pytest.mark.parametrize("method", ["better", "failure"])
def test_it_stays_until_who_failed_is_back(method: str) -> None:
    told = to_the_spare(method)
    told.happen("start")
    told.happen("eth0 fails")
    told.happen("eth2 fails")
    assert told.settle() == "eth1"
    told.happen("eth2 returns")
    assert told.happen("active fails") == "lte0", "the file's word, though eth2 works"
    assert told.happen("eth1 returns") in ("eth1", "eth2")


def test_what_the_peer_calls_a_spare_no_name_lifts() -> None:
    """Neither being the primary nor failoverTo: the peer wants it left alone."""
    rules = (rule("eth0", to="eth1"), rule("eth1"), rule("eth2"))
    policy = backup(*rules, method="always")
    paths = (path(0, "eth0", 0.9), spare(1, "eth1", 0.9), path(2, "eth2", 0.1))
    assert active_backup(policy, (dead(paths[0]), *paths[1:]), 0, Memory()).order == (2, 1)
    primary_spared = (spare(0, "eth0", 0.9), path(1, "eth1", 0.2), path(2, "eth2", 0.1))
    assert active_backup(policy, primary_spared, 0, Memory()).order == (1, 2, 0)
    assert active_backup(policy, primary_spared, None, Memory()).order == (1, 2, 0)
    assert active_backup(policy, (primary_spared[0],), None, Memory()).order == (0,)


# ---- rotate ----------------------------------------------------------------------------------

A, B, C, S, T = path(0, "a"), path(1, "b"), path(2, "c"), spare(3, "s"), spare(4, "t")
V4, V6 = path(0, "a", ipv=46), path(1, "a", ipv=46, version=6)


@pytest.mark.parametrize(
    ("why", "paths", "active", "following"),
    [
        ("the next by number", (A, B, C), 0, 1),
        ("whatever the order they come in", (C, B, A), 0, 1),
        ("not the best", (A, B, replace(C, score=1.0)), 0, 1),
        ("after the last the first", (A, B, C), 2, 0),
        ("over one that is down", (A, dead(B), C), 0, 2),
        ("over spares", (replace(S, index=1), replace(A, index=0), replace(C, index=2)), 0, 2),
        ("back to the only other non-spare", (A, B, S), 1, 0),
        ("a spare where there is no other", (A, S, T), 0, 3),
        ("from a spare to a non-spare", (A, S, T), 3, 0),
        ("among spares to the next one", (dead(A), S, T), 4, 3),
        ("nothing else", (A,), 0, None),
        ("nothing else that works", (A, dead(B), dead(S)), 0, None),
        ("not to a family that is held back", (V4, V6), 0, None),
    ],
)
def test_next_in_turn(why: str, paths: Sequence[PathView], active: int, following: int | None) -> None:
    found = next_in_turn(paths, active)
    assert (found.index if found else None) == following


@pytest.mark.parametrize("method", ["always", "better"])
def test_rotating_to_the_primary_is_as_if_nothing_had_been(method: str) -> None:
    told = bond(method, chained=False)
    told.happen("start")
    assert [told.happen("rotate") for _ in range(3)] == ["eth1", "eth2", "eth0"]
    told.paths["eth0"] = replace(told.paths["eth0"], score=0.95)
    assert told.happen("eth0 fails") == "eth2"
    assert told.happen("eth0 returns") == "eth0"


@pytest.mark.parametrize("method", ["optimize", "always", "better", "failure"])
def test_a_path_rotated_to_that_failed_is_forgotten(method: str) -> None:
    told = bond(method, chained=False)
    told.paths["eth0"] = replace(told.paths["eth0"], score=0.9)
    told.happen("start")
    assert told.happen("rotate") == "eth1"
    told.happen("eth1 fails")
    assert told.settle() == "eth0"
    assert told.happen("eth1 returns") == "eth0"


def test_rotation_holds_on_the_link_when_its_path_fails() -> None:
    """Another path of the link goes on: the link has not failed."""
    policy = backup(rule("eth0"), rule("eth1"), method="always")
    paths = {
        "eth0": path(0, "eth0", 0.9),
        "eth1": path(1, "eth1", 0.2),
        "eth1b": path(2, "eth1", 0.1),
    }
    told = Bond(policy, paths)
    told.happen("start")
    told.happen("rotate")
    assert told.happen("eth1 fails") == "eth1b"
