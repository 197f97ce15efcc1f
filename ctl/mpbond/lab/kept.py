"""Labs that outlive the command that made them, for people to try things in.

The namespaces are the lab; a folder under the run dir only remembers which
topology each was made from, and holds a run dir and a ready configuration for each
of the hosts that can be bonded.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

from mpbond.errors import UsageError
from mpbond.lab.bonds import Site, pair
from mpbond.lab.netns import PREFIX, Lab, namespaces, remove_namespace
from mpbond.lab.topology import TOPOLOGIES, End, Topology
from mpbond.rundir import RunDir

DEFAULT_NAME = "lab"
# No dash, and no digit first: see `_OF_A_PROCESS`. The rest is for the kernel's sake.
_NAME = re.compile(r"[a-z][a-z0-9]{0,11}")
_OF_A_PROCESS = re.compile(rf"{PREFIX}-(\d+)-\d+-")
# Fast enough that a cut by hand is hardly seen in a ping.
_POLICY: dict[str, Any] = {"basePolicy": "balance-xor", "failoverInterval": 100}
BONDED = ("a", "b")


@dataclass(frozen=True, slots=True)
class KeptLab:
    """A lab by its name; `topology` is one of TOPOLOGIES; `emulator`, where its wires
    are emulated, one of emulator.KINDS."""

    name: str
    topology: str
    folder: Path
    emulator: str = ""

    @property
    def lab(self) -> Lab:
        topology = TOPOLOGIES[self.topology]()
        if not self.emulator:
            return Lab(topology, tag=self.name)
        return Lab(topology.emulated(), tag=self.name, emulator=self.emulator)

    def run_dir(self, host: str) -> Path:
        """For --run-dir: two hosts on one machine must not share it."""
        return self.folder / host

    def site(self, host: str) -> Path:
        """Its configuration file."""
        return self.folder / f"site-{host}.yaml"


def sites(topology: Topology) -> tuple[Site, Site]:
    """Files for the bond between a and b: a path between interfaces of one name,
    whether a wire or a router lies between them, and the LANs behind the other."""
    ends = {host: _ends(topology, host) for host in BONDED}
    links = sorted(ends["a"].keys() & ends["b"].keys() - {"lan0"})
    endpoints = {
        host: [{"address": _bare(of_host[link]), "link": link} for link in links]
        for host, of_host in ends.items()
    }
    site_a, site_b = pair(endpoints["a"], endpoints["b"], _POLICY)
    for site, peer in ((site_a, "b"), (site_b, "a")):
        lan = ends[peer].get("lan0")
        site.allowed = {peer: [str(ip_interface(own).network) for own in lan.addresses] if lan else []}
    return site_a, site_b


def _ends(topology: Topology, host: str) -> dict[str, End]:
    ends = (end for wire in topology.wires for end in (wire.a, wire.b))
    return {end.ifname: end for end in ends if end.host == host}


def _bare(end: End) -> str:
    return str(ip_interface(end.addresses[0]).ip)


def _folder(run_dir: RunDir) -> Path:
    return run_dir.path / "lab"


def up(run_dir: RunDir, topology: str, name: str, emulator: str = "") -> KeptLab:
    """Makes a lab that stays. Raises UsageError for names that cannot be."""
    check_names(topology, name)
    if namespaces(f"{PREFIX}-{name}-"):
        raise UsageError(f"lab {name} is up already; `mpbond lab down {name}` removes it")
    kept = KeptLab(name, topology, _folder(run_dir) / name, emulator)
    # Remembered first: what is interrupted halfway can still be taken down by name.
    run_dir.make()
    kept.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (kept.folder / "topology").write_text(f"{topology} {emulator}")
    for site in sites(kept.lab.topology):
        kept.site(site.host).write_text(site.as_yaml())
    lab = kept.lab
    try:
        lab.__enter__()
    except BaseException:
        shutil.rmtree(kept.folder)
        raise
    if emulator:
        kept = replace(kept, emulator=lab.emulator)
        (kept.folder / "topology").write_text(f"{topology} {kept.emulator}")
    return kept


def check_names(topology: str, name: str) -> None:
    if topology not in TOPOLOGIES:
        raise UsageError(f"no topology {topology!r}; there are: {', '.join(TOPOLOGIES)}")
    if not _NAME.fullmatch(name):
        raise UsageError(f"name {name!r}: wanted up to 12 small letters and digits, a letter first")


def every(run_dir: RunDir) -> list[KeptLab]:
    """All that `up` made under this run dir."""
    found: list[KeptLab] = []
    for file in sorted(_folder(run_dir).glob("*/topology")):
        topology, *emulator = file.read_text().split()
        found.append(KeptLab(file.parent.name, topology, file.parent, *emulator))
    return found


def find(run_dir: RunDir, name: str) -> KeptLab:
    """By name. Raises UsageError naming those there are."""
    labs = {kept.name: kept for kept in every(run_dir)}
    if not labs:
        raise UsageError(f"no lab is up (run dir {run_dir.path}): `mpbond lab up TOPOLOGY` makes one")
    if name not in labs:
        raise UsageError(f"no lab {name!r}; up: {', '.join(labs)}")
    return labs[name]


def down(kept: KeptLab) -> list[str]:
    """Ends what runs in the lab and removes it; the namespaces that went."""
    gone = _remove(namespaces(f"{PREFIX}-{kept.name}-"))
    shutil.rmtree(kept.folder)
    return gone


def remove_orphans() -> list[str]:
    """Namespaces of labs whose own process was killed before it could remove them."""
    found = ((name, _OF_A_PROCESS.match(name)) for name in namespaces(f"{PREFIX}-"))
    return _remove(name for name, match in found if match and not Path("/proc", match[1]).exists())


def _remove(names: Iterable[str]) -> list[str]:
    gone = list(names)
    for name in gone:
        remove_namespace(name)
    return gone
