"""Options and small things that several commands share."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console

from mpbond.controller.socket import ask
from mpbond.errors import UsageError
from mpbond.rundir import ENVIRONMENT, STATE_ENVIRONMENT, RunDir, from_option
from mpbond.snapshot import BondSnapshot, Snapshot, from_json

RunDirOption = Annotated[
    str | None,
    typer.Option(
        "--run-dir",
        envvar=ENVIRONMENT,
        help="Folder of sockets and locks: another one is another host.",
        show_default="/run/mpbond",
    ),
]
StateDirOption = Annotated[
    str | None,
    typer.Option(
        "--state-dir",
        envvar=STATE_ENVIRONMENT,
        help="Folder of what outlives the host: how each path has behaved.",
        show_default="/var/lib/mpbond, or state in another run dir",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", "-j", help="JSON on standard output.")]
InterfaceOption = Annotated[
    str | None, typer.Option("--interface", "-i", help="Which bond interface, where several are up.")
]
FileArgument = Annotated[str, typer.Argument(metavar="FILE", help="The YAML configuration.")]

out = Console(soft_wrap=True)
err = Console(stderr=True, soft_wrap=True)


def say(line: str) -> None:
    """Plain text: what comes from files and kernels is no markup."""
    out.print(line, markup=False, highlight=False)


def warn(line: str) -> None:
    err.print(line, style="yellow", markup=False, highlight=False)


def choose_interface(run_dir: RunDir, wanted: str | None) -> str:
    """The interface asked for, or the only one with a controller."""
    if wanted is not None:
        return wanted
    running = [name for name in run_dir.interfaces() if run_dir.owner(name) is not None]
    if len(running) == 1:
        return running[0]
    if not running:
        raise UsageError(f"no bond is up (run dir {run_dir.path}): `mpbond up FILE` brings one up")
    raise UsageError(f"several bonds are up ({', '.join(running)}): say which with --interface")


def ask_controller(
    run_dir_option: str | None, interface: str | None, call: str, **arguments: str
) -> dict[str, Any]:
    """One question to the controller meant by the options."""
    run_dir = from_option(run_dir_option)
    name = choose_interface(run_dir, interface)
    answer: dict[str, Any] = ask(run_dir.socket(name), call, **arguments)
    return answer


def read_snapshot(run_dir_option: str | None, interface: str | None) -> Snapshot:
    return from_json(ask_controller(run_dir_option, interface, "snapshot"))


def find_bond(snapshot: Snapshot, peer: str) -> BondSnapshot:
    """By id, else by name."""
    for bond in snapshot.bonds:
        if peer in (bond.address, bond.name):
            return bond
    known = ", ".join(bond.name or bond.address for bond in snapshot.bonds) or "none"
    raise UsageError(f"no peer {peer!r} on {snapshot.interface}; known: {known}")
