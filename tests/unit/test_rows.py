"""Rows and paths stay together whatever comes and goes, beside a dictionary of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpbond.rows import Rows, fresh_record

PLANES = 3
PATHS = st.lists(st.integers(0, 40), unique=True, max_size=12)


def rows() -> Rows:
    return Rows(fresh_record(np.dtype([("mark", "<i8")]), mark=-1), planes=np.full(PLANES, -1.0))


@given(st.lists(PATHS, max_size=6))
def test_a_path_keeps_its_figures_while_it_is_followed(changes: list[list[int]]) -> None:
    table, known = rows(), dict[int, int]()
    for mark, paths in enumerate(changes):
        table.follow(paths)
        known = {path: known.get(path, -1) for path in paths}
        assert [int(table.state["mark"][table.row(path)]) for path in paths] == list(known.values())
        assert all((table.wide["planes"][:, table.row(path)] == known[path]).all() for path in paths)
        assert table.paths.tolist() == paths
        known = {path: mark * 100 + path for path in paths}
        table.state["mark"] = mark * 100 + table.paths
        table.wide["planes"][:] = table.state["mark"]


@given(PATHS, PATHS)
def test_who_is_forgotten_starts_anew(paths: list[int], gone: list[int]) -> None:
    table = rows()
    table.follow(paths)
    table.state["mark"], table.wide["planes"][:] = 7, 7
    table.forget(gone)
    for path in paths:
        wanted = -1 if path in gone else 7
        assert table.state["mark"][table.row(path)] == wanted
        assert (table.wide["planes"][:, table.row(path)] == wanted).all()


@pytest.mark.parametrize("path", [-1, 0, 2, 4])
def test_nobody_elses_row_is_given(path: int) -> None:
    table = rows()
    table.follow([3, 1])
    with pytest.raises(KeyError):
        table.row(path)


def test_a_path_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="twice"):
        rows().follow([2, 1, 2])
