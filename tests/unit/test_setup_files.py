"""What a newcomer runs first: Makefile, .ci, pins."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ("run", "setup", "check-bpf")


def pins() -> dict[str, str]:
    lines = (ROOT / ".ci/requirements-dev.txt").read_text().splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pairs}


def requirements() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [Requirement(line) for line in project["dependencies"] + project["optional-dependencies"]["dev"]]


@pytest.mark.parametrize("target", ["setup", "demo", "test", "check", "bench", "clean", "help"])
def test_make_target(target: str) -> None:
    """`make -n` fails on a target that is not there; it runs nothing."""
    assert subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, check=False).returncode == 0


def test_bare_make_helps() -> None:
    said = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "make setup" in said
    assert max(map(len, said.splitlines())) <= 100


@pytest.mark.parametrize("script", SCRIPTS)
def test_script_is_strict_and_parses(script: str) -> None:
    file = ROOT / ".ci" / script
    assert os.access(file, os.X_OK)
    assert "\nset -euo pipefail\n" in file.read_text()
    subprocess.run(["bash", "-n", str(file)], check=True)


def test_ci_runs_the_tests_without_skips() -> None:
    text = (ROOT / ".ci/run").read_text()
    assert "export CI=true" in text
    assert re.search(r"^exec make test$", text, re.MULTILINE)


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_pin_satisfies_pyproject(requirement: Requirement) -> None:
    pinned = pins()
    name = canonicalize_name(requirement.name)
    assert name in pinned, f"{name} has no pin in .ci/requirements-dev.txt"
    assert requirement.specifier.contains(pinned[name])


def test_setup_uses_the_systems_python() -> None:
    """A python3 of pyenv or conda on PATH does not see bcc."""
    assert not re.search(r"(?<![/\w$-])python3? ", (ROOT / ".ci/setup").read_text())
