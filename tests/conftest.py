"""What a test may ask of the machine, and what happens where it is not there.

On an engineer's laptop a test that cannot run is skipped and says why. In CI (or
with MPBOND_NO_SKIP=1) the same is a failure, as nobody reads skips there.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


def _missing_for_root() -> str:
    if os.geteuid() != 0:
        return "needs root"
    if importlib.util.find_spec("bcc") is None:
        return "needs bcc: apt install python3-bpfcc, and a venv made by `make setup`"
    return ""


def _missing_for_netns() -> str:
    if os.geteuid() != 0:
        return "needs root"
    if not Path("/proc/self/ns/net").exists():
        return "needs a kernel with network namespaces"
    if shutil.which("ip") is None:
        return "needs ip: apt install iproute2"
    return ""


_PREREQUISITES: dict[str, Callable[[], str]] = {"root": _missing_for_root, "netns": _missing_for_netns}


def _skip_is_failure() -> bool:
    return os.environ.get("CI") == "true" or os.environ.get("MPBOND_NO_SKIP") == "1"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before any fixture: a fixture would fail with the kernel's words instead."""
    for marker, missing in _PREREQUISITES.items():
        reason = missing() if item.get_closest_marker(marker) else ""
        if reason and _skip_is_failure():
            pytest.fail(f"{reason} (a skip is a failure here)", pytrace=False)
        if reason:
            pytest.skip(reason)
