"""The documents name tests as proof: each is there, and each promise has one."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
INDEX = ROOT / "docs/semantics-tests.md"
COMPARED = ROOT / "docs/policies.md"
NOT_YET = "not in this version"
_NAME = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def table(document: Path, heading: str = "") -> list[list[str]]:
    """The rows of the tables whose last column says which test shows it."""
    text = document.read_text()
    part = text[text.index(heading) :] if heading else text
    rows = [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("| ")]
    return [row for row in rows if row[-1] != "shown by"]


ROWS = [
    (document.name, " | ".join(row))
    for document, heading in ((INDEX, ""), (COMPARED, "## Promised, done, shown"))
    for row in table(document, heading)
]


@cache
def functions(file: str) -> frozenset[str]:
    """The tests that a file defines."""
    tree = ast.parse((ROOT / file).read_text())
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize(("document", "row"), ROWS, ids=lambda value: value[:60])
def test_every_row_names_a_test_that_exists_or_says_not_yet(document: str, row: str) -> None:
    named = _NAME.findall(row)
    assert named or NOT_YET in row
    for file, name in named:
        assert (ROOT / file).exists(), file
        assert name in functions(file), f"{file}::{name}"
        assert name.startswith("test_")


def test_nothing_that_looks_like_a_test_is_overlooked() -> None:
    for document in (INDEX, COMPARED):
        text = document.read_text()
        assert text.count("tests/") == len(_NAME.findall(text))


def test_every_example_of_the_document_is_in_the_index() -> None:
    shown = functions("tests/netns/test_document_examples.py")
    listed = {name for file, name in _NAME.findall(INDEX.read_text()) if "document_examples" in file}
    assert listed == {name for name in shown if name.startswith("test_")}


def test_a_missing_test_is_noticed() -> None:
    assert "test_frobnicate" not in functions("tests/unit/test_docs.py")
