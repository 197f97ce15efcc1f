"""Whatever the paths: what the links for traffic that is sent twice keep to."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from mpbond.config.model import LinkMode
from mpbond.policies import PathView, usable
from mpbond.redundant import best_links

EXAMPLES = settings(max_examples=200, deadline=None, database=None)


@st.composite
def views(draw: st.DrawFn) -> list[PathView]:
    """Up to ten paths of up to four links, spares among them."""
    return [
        PathView(
            index=index,
            ifname=draw(st.sampled_from("abcd")),
            version=draw(st.sampled_from((4, 6))),
            mode=draw(st.sampled_from(LinkMode)),
            ipv_pref=draw(st.sampled_from((0, 46, 64))),
            eligible=draw(st.booleans()),
            score=draw(st.floats(0, 1)),
        )
        for index in range(draw(st.integers(0, 10)))
    ]


@EXAMPLES
@given(paths=views())
def test_they_are_the_ones_that_carry(paths: list[PathView]) -> None:
    """Each once, and no spare beside another path."""
    best = best_links(paths)
    now = usable(paths)
    carrying = {path.index for path in now if path.mode is LinkMode.PRIMARY} or {path.index for path in now}
    assert sorted(best) == sorted(carrying)


@EXAMPLES
@given(paths=views())
def test_the_first_two_are_of_the_best_two_links(paths: list[PathView]) -> None:
    """As far as there are two: no other link has a path that is better than the second."""
    by_index = {path.index: path for path in paths}
    best = [by_index[index] for index in best_links(paths)]
    links = {path.ifname for path in best}
    assert len({path.ifname for path in best[: len(links)]}) == len(links), "one of every link first"
    for place, path in enumerate(best[: len(links)]):
        later = [other for other in best[place:] if other.ifname not in {p.ifname for p in best[:place]}]
        assert path.score == max(other.score for other in later)
