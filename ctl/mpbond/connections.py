"""How many connections two ends use on each path: Syncthing's numConnections. Pure.

Either side 1 -> 1, else the larger of the two, at most 128; 0 means the default.
"""

from __future__ import annotations

DEFAULT = 1
MOST = 128


def wanted(configured: int) -> int:
    """What one end asks for: 0 is the default, negative is one."""
    if configured == 0:
        return DEFAULT
    return min(max(configured, 1), MOST)


def agreed(this: int, other: int) -> int:
    """What comes of both ends' wishes, each as configured. An end that has not said
    anything counts as one that wants a single connection."""
    here, there = wanted(this), wanted(other)
    return 1 if 1 in (here, there) else max(here, there)
