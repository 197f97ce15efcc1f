"""Bonds between the hosts of a lab: files written, `mpbond` run as a user would.

Everything goes through the command line in the host's namespace with a run dir of
its own; nothing here knows the controller.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from mpbond import sessions
from mpbond.controller.socket import ask
from mpbond.identity import as_text, identity
from mpbond.lab.netns import Lab, LabError, wait_for
from mpbond.rundir import RunDir

NODE_IDS = {"a": "00000000aa", "b": "00000000bb", "c": "00000000cc"}


def inner_address(host: str, version: int = 4) -> str:
    """A host's address on mp0."""
    last = "abc".index(host) + 1
    return f"10.99.0.{last}" if version == 4 else f"fd99::{last}"


@dataclass(slots=True)
class Site:
    """One host's configuration file in the making; `policy` and `settings` are
    ZeroTier's terms. `peers`: host -> its endpoints, which may be none. With `privates`, private keys by
    host, hosts know each other by public keys, and `key` is pre-shared ("": none)."""

    host: str
    key: str
    peers: dict[str, list[Any]]
    policy: str | dict[str, Any] = "active-backup"
    settings: dict[str, Any] = field(default_factory=dict)
    interface: dict[str, Any] = field(default_factory=dict)
    allowed: dict[str, list[str]] = field(default_factory=dict)
    peer_extra: dict[str, Any] = field(default_factory=dict)
    privates: dict[str, bytes] = field(default_factory=dict)

    def as_yaml(self) -> str:
        settings = dict(self.settings)
        if isinstance(self.policy, str):
            settings.setdefault("defaultBondingPolicy", self.policy)
        else:
            settings.setdefault("defaultBondingPolicy", "lab")
            settings.setdefault("policies", {})["lab"] = self.policy
        interface = {
            "name": "mp0",
            "addresses": [f"{inner_address(self.host)}/24", f"{inner_address(self.host, 6)}/64"],
            **self.interface,
        }
        return yaml.safe_dump(
            {
                "node": self._node(),
                "interface": interface,
                "settings": settings,
                "peers": {self._id(peer): self._peer(peer, ends) for peer, ends in self.peers.items()},
            },
            sort_keys=False,
        )

    def _node(self) -> dict[str, Any]:
        if not self.privates:
            return {"id": NODE_IDS[self.host]}
        return {"privateKey": as_text(self.privates[self.host])}

    def _id(self, host: str) -> str:
        return identity(self.privates[host]).id if self.privates else NODE_IDS[host]

    def _keys(self, peer: str) -> dict[str, str]:
        shared = {"key": self.key} if self.key else {}
        if not self.privates:
            return shared
        return {"publicKey": as_text(identity(self.privates[peer]).public), **shared}

    def _peer(self, peer: str, endpoints: list[Any]) -> dict[str, Any]:
        own = [f"{inner_address(peer)}/32", f"{inner_address(peer, 6)}/128"]
        return {
            "name": f"host-{peer}",
            **self._keys(peer),
            **({"endpoints": endpoints} if endpoints else {}),
            "allowed": [*own, *self.allowed.get(peer, [])],
            **self.peer_extra,
        }


def pair(
    endpoints_of_a: Sequence[Any],
    endpoints_of_b: Sequence[Any],
    policy: str | dict[str, Any],
    *,
    key: str | None = None,
    **changes: Any,
) -> tuple[Site, Site]:
    """The two ends of one bond under the same policy; a fresh `key` unless one is given."""
    key = sessions.new_key().strip() if key is None else key
    site_a = Site("a", key, {"b": list(endpoints_of_b)}, policy, **changes)
    site_b = Site("b", key, {"a": list(endpoints_of_a)}, policy, **changes)
    return site_a, site_b


def strangers(*hosts: str) -> dict[str, bytes]:
    """A fresh private key for each host."""
    return {host: sessions.parse_key(sessions.new_key()) for host in hosts}


class Bonds:
    """`mpbond` on the hosts of `lab`; files and run dirs live in `folder`."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab = lab
        self.folder = folder

    def run_dir(self, host: str) -> Path:
        return self.folder / f"run-{host}"

    def write(self, site: Site) -> Path:
        file = self.folder / f"site-{site.host}.yaml"
        file.write_text(site.as_yaml())
        return file

    def argv(self, host: str, *words: str) -> list[str]:
        return [sys.executable, "-m", "mpbond", "--run-dir", str(self.run_dir(host)), *words]

    def mpbond(self, host: str, *words: str) -> str:
        """One command on one host; its standard output."""
        return self.lab.run(host, self.argv(host, *words), timeout_s=120)

    def up(self, *sites: Site) -> None:
        """All at once, as compiling takes a second or two each."""
        self.up_files({site.host: self.write(site) for site in sites})

    def up_files(self, files: dict[str, Path]) -> dict[str, str]:
        """Host -> file that is there already; what `up` said on each host."""
        said: dict[str, str] = {}
        started = [
            (host, self.lab.start(host, self.argv(host, "up", str(file)), stdout=-1, stderr=-1, text=True))
            for host, file in files.items()
        ]
        for host, process in started:
            output, errors = process.communicate(timeout=120)
            if process.returncode != 0:
                log = self.run_dir(host) / "mp0.log"
                last = log.read_text()[-2000:] if log.exists() else ""
                raise LabError(f"mpbond up on {host}: exit {process.returncode}\n{output}{errors}{last}")
            said[host] = output
        return said

    def down(self, *hosts: str) -> None:
        for host in hosts:
            self.mpbond(host, "down")

    def show(self, host: str, peer: str) -> dict[str, Any]:
        """`bond show PEER -j`."""
        data: dict[str, Any] = json.loads(self.mpbond(host, "bond", "show", f"host-{peer}", "-j"))
        return data

    def peek(self, host: str, peer: str) -> dict[str, Any]:
        """The same from the control socket itself: for waiting, a hundred times faster."""
        snapshot = ask(self.run_dir(host) / "mp0.sock", "snapshot")
        bond: dict[str, Any] = next(bond for bond in snapshot["bonds"] if bond["name"] == f"host-{peer}")
        return bond

    def pid(self, host: str) -> int:
        """The controller's."""
        return int((self.run_dir(host) / "mp0.pid").read_text())

    def signal(self, host: str, number: signal.Signals) -> None:
        os.kill(self.pid(host), number)

    def kill(self, host: str) -> None:
        """kill -9 of the controller, and gone when this returns."""
        pid = self.pid(host)
        os.kill(pid, signal.SIGKILL)
        wait_for(f"controller {pid} gone", lambda: not _alive(pid))

    def wait_gone(self, host: str) -> None:
        """Until a host's controller has ended by itself, its bond taken down."""
        run_dir = RunDir(self.run_dir(host))
        wait_for(f"{host}'s controller gone", lambda: run_dir.owner("mp0") is None)

    def wait_eligible(self, host: str, peer: str, count: int, timeout_s: float = 10.0) -> dict[str, Any]:
        """Until `count` paths of the bond are eligible; the bond then."""

        def ready() -> dict[str, Any] | None:
            bond = self.peek(host, peer)
            return bond if sum(path["eligible"] for path in bond["paths"]) >= count else None

        bond: dict[str, Any] = wait_for(f"{count} eligible paths from {host} to {peer}", ready, timeout_s)
        return bond


def _alive(pid: int) -> bool:
    """A zombie does not count: nobody may be left to reap a daemon in a container."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in ("Z", "X")
    except FileNotFoundError:
        return False
