"""Makes a bond use more connections on each path than were agreed on: run in its namespace.

`stubborn.py NUMBER`: for a test of what the other end does about it.
"""

from __future__ import annotations

import sys

from pyroute2 import IPRoute

from mpbond import abi
from mpbond.controller import adopt

_FIRST_PORT = 61_000


def main(number: int) -> None:
    with IPRoute() as ipr:
        plane = adopt.find(ipr, "mp0")
    assert plane is not None
    node = plane.node[0]
    there = max(1, int(node["source_ports"]))
    node["source_port"][there:number] = range(_FIRST_PORT, _FIRST_PORT + number - there)
    node["source_ports"] = number
    used = plane.paths["flags"] & int(abi.PathFlag.USED) != 0
    plane.paths["connections"][used] = number
    plane.close()


if __name__ == "__main__":
    main(int(sys.argv[1]))
