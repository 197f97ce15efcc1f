"""Paths as policies see them, for tables of cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mpbond.config.model import LinkMode, Policy
from mpbond.policies import Assignment, Memory, PathView, active_backup


def path(
    index: int,
    ifname: str,
    score: float = 0.5,
    *,
    mode: str = "primary",
    version: int = 4,
    ipv: int = 0,
    eligible: bool = True,
) -> PathView:
    return PathView(index, ifname, version, LinkMode(mode), ipv, eligible, score)


def spare(index: int, ifname: str, score: float = 0.5) -> PathView:
    return path(index, ifname, score, mode="spare")


def dead(view: PathView) -> PathView:
    return replace(view, eligible=False)


def periods(
    policy: Policy, paths: Sequence[PathView], active: int | None, count: int = 2
) -> list[int | None]:
    """The active path after each of `count` periods in which nothing changes."""
    memory = Memory()
    found: list[int | None] = []
    for _ in range(count):
        active = active_backup(policy, paths, active, memory).active
        found.append(active)
    return found


def assigned(policy: Policy, paths: Sequence[PathView], active: int | None = None) -> Assignment:
    return active_backup(policy, paths, active, Memory())
