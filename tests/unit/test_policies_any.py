"""Whatever the paths: what every policy keeps to."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpbond.config.model import BasePolicy, LinkMode
from mpbond.policies import ASSIGN, Assignment, Memory, PathView, carriers, usable
from tests.unit.host import XOR

LINKS = ("a", "b", "c", "d")
BALANCE = (BasePolicy.BALANCE_RR, BasePolicy.BALANCE_XOR, BasePolicy.BALANCE_AWARE)
EXAMPLES = settings(max_examples=100, deadline=None, database=None)


@st.composite
def views(draw: st.DrawFn) -> list[PathView]:
    """Up to four links, some of them spares, each with up to four paths of both families."""
    found: list[PathView] = []
    for name in draw(st.lists(st.sampled_from(LINKS), unique=True)):
        mode = draw(st.sampled_from(LinkMode))
        ipv_pref = draw(st.sampled_from((0, 46, 64)))
        for _ in range(draw(st.integers(1, 4))):
            found.append(
                PathView(
                    index=len(found),
                    ifname=name,
                    version=draw(st.sampled_from((4, 6))),
                    mode=mode,
                    ipv_pref=ipv_pref,
                    eligible=draw(st.booleans()),
                    score=draw(st.floats(0, 1)),
                    avoided=draw(st.booleans()),
                )
            )
    return found


def assign(base: BasePolicy, paths: list[PathView]) -> Assignment:
    return ASSIGN[base](replace(XOR, base=base), paths, None, Memory())


@pytest.mark.parametrize("base", list(BasePolicy))
@given(paths=views())
@EXAMPLES
def test_something_carries_if_anything_can_and_nothing_else_does(
    base: BasePolicy, paths: list[PathView]
) -> None:
    found = assign(base, paths)
    able = {path.index for path in usable(paths)}
    assert set(found.order) == able and len(found.order) == len(able)
    carrying = set(found.shares) if found.active is None else {found.active}
    assert carrying <= able
    assert bool(carrying) == bool(able)
    assert all(share > 0 for share in found.shares.values())


@pytest.mark.parametrize("base", BALANCE)
@given(paths=views())
@EXAMPLES
def test_a_spare_carries_only_where_nothing_else_can(base: BasePolicy, paths: list[PathView]) -> None:
    found = assign(base, paths)
    normal = {path.index for path in usable(paths) if path.mode is LinkMode.PRIMARY}
    assert set(found.order[: found.preferred]) <= normal
    assert set(found.shares) <= (normal or set(found.order))
    assert set(found.order[: len(normal)]) == normal
    if base is not BasePolicy.BALANCE_AWARE:
        assert (found.preferred, set(found.shares)) == (len(normal), normal or set(found.order))


@given(paths=views())
@EXAMPLES
def test_who_is_avoided_carries_only_where_nobody_else_does(paths: list[PathView]) -> None:
    found = assign(BasePolicy.BALANCE_AWARE, paths)
    bad = {path.index for path in carriers(paths) if path.avoided}
    good = {path.index for path in carriers(paths)} - bad
    assert set(found.shares) == (good or bad)


@given(paths=views())
@EXAMPLES
def test_broadcast_takes_the_best_path_of_every_link(paths: list[PathView]) -> None:
    found = assign(BasePolicy.BROADCAST, paths)
    of_link: dict[str, list[PathView]] = defaultdict(list)
    for path in usable(paths):
        of_link[path.ifname].append(path)
    best = {
        min(paths, key=lambda path: (path.avoided, -path.score, path.index)).index
        for paths in of_link.values()
    }
    assert set(found.order[: found.preferred]) == set(found.shares) == best


@pytest.mark.parametrize("base", [BasePolicy.BALANCE_XOR, BasePolicy.BALANCE_AWARE])
@given(paths=views())
@EXAMPLES
def test_a_links_share_is_its_own_however_many_paths_it_has(base: BasePolicy, paths: list[PathView]) -> None:
    found = assign(base, paths)
    by_index = {path.index: path for path in paths}
    of_link: dict[str, float] = defaultdict(float)
    for index, share in found.shares.items():
        of_link[by_index[index].ifname] += share
    assert list(of_link.values()) == pytest.approx([1.0] * len(of_link))
