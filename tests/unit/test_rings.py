"""Imports point inward only: pure rules, then kernel, then controller, then command line."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import mpbond

PACKAGE = Path(mpbond.__file__).parent

# Modules of the pure ring: no clock, no kernel, no sockets. sources.py reads files.
PURE = {
    *("abi", "avoid", "balance", "blame", "capacity", "errors", "estimate", "events", "groups", "health"),
    *("inventory", "lately", "layout", "plan", "policies", "quality", "ratio", "rings", "rows"),
    *("samples", "sessions", "shares", "slotrates", "slots", "snapshot", "sources", "supported"),
    *("view", "weights", "wire"),
}
# What each folder must not import of ours. Modules at the top that are not pure (rundir,
# doctor) do I/O of their own and are held to the controller's ring.
OUTER = {
    "pure": ("kernel", "controller", "cli", "lab", "rundir", "doctor"),
    "kernel": ("controller", "cli", "lab"),
    "controller": ("cli", "lab"),
    "cli": (),
    "lab": (),
}
IMPURE = {
    *("asyncio", "bcc", "fcntl", "multiprocessing", "pyroute2", "select", "signal", "socket"),
    *("subprocess", "threading", "time", "typer"),
}
# Who alone may speak to the BPF compiler and to netlink.
OWNERS = {
    "bcc": {"kernel", "lab"},
    "pyroute2": {"kernel", "controller", "cli", "lab"},
    "typer": {"cli"},
    "scapy": {"lab"},
}

FILES = sorted(path for path in PACKAGE.rglob("*.py") if "bpf" not in path.relative_to(PACKAGE).parts)


def imported(path: Path) -> Iterator[str]:
    """Full dotted names of all that a file imports, wherever in it that stands."""
    inside = path.relative_to(PACKAGE.parent).with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(inside[: len(inside) - node.level]) if node.level else ""
            module = ".".join(part for part in (base, node.module or "") if part)
            yield module
            yield from (f"{module}.{name.name}" for name in node.names)


def ring(path: Path) -> str:
    first, *rest = path.relative_to(PACKAGE).with_suffix("").parts
    if rest:
        return "pure" if first == "config" else first
    if first in PURE or first == "__init__":
        return "pure"
    return "cli" if first == "__main__" else "controller"


def of_ours(names: Iterator[str]) -> set[str]:
    """The first part below mpbond of what is imported."""
    return {name.split(".")[1] for name in names if name.startswith("mpbond.")}


def outside(names: Iterator[str]) -> set[str]:
    return {name.split(".")[0] for name in names} - {"mpbond"}


def name_of(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_point_inward(path: Path) -> None:
    assert of_ours(imported(path)) & set(OUTER[ring(path)]) == set()


@pytest.mark.parametrize("path", [path for path in FILES if ring(path) == "pure"], ids=name_of)
def test_the_pure_ring_has_no_clock_no_kernel_and_no_sockets(path: Path) -> None:
    assert outside(imported(path)) & IMPURE == set()


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_libraries_stay_with_their_owners(path: Path) -> None:
    folder = path.relative_to(PACKAGE).parts[0] if path.parent != PACKAGE else ring(path)
    for library in outside(imported(path)) & OWNERS.keys():
        assert folder in OWNERS[library], library


def test_the_pure_modules_are_there() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} >= PURE


def test_every_folder_has_a_ring() -> None:
    folders = {path.relative_to(PACKAGE).parts[0] for path in FILES if path.parent != PACKAGE}
    assert folders <= OUTER.keys() | {"config"}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("import socket", {"socket"}),
        ("from mpbond import kernel", {"mpbond", "mpbond.kernel"}),
        ("from .kernel import bpf", {"mpbond.kernel", "mpbond.kernel.bpf"}),
        ("def f():\n    import time", {"time"}),
    ],
)
def test_no_way_of_importing_is_overlooked(
    text: str, names: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "mpbond"
    package.mkdir()
    monkeypatch.setattr(f"{__name__}.PACKAGE", package)
    (package / "module.py").write_text(text)
    assert set(imported(package / "module.py")) == names
