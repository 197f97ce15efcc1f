"""`mpbond lab`: networks to try a bond in, made of namespaces on this machine."""

from __future__ import annotations

from enum import StrEnum
from importlib import import_module
from typing import Annotated

import typer

from mpbond.cli.options import RunDirOption, say
from mpbond.errors import UsageError
from mpbond.lab import kept
from mpbond.lab.topology import TOPOLOGIES, End, Topology
from mpbond.rundir import ENVIRONMENT, from_option

# Each has a `main()` that makes its own lab, says what it does, and removes the lab.
SCENARIOS = {"demo": "mpbond.lab.demo"}

app = typer.Typer(no_args_is_help=True, help="Networks of namespaces on this machine, to try a bond in.")


class Direction(StrEnum):
    BOTH = "both"
    A_TO_B = "a->b"
    B_TO_A = "b->a"


NameOption = Annotated[str | None, typer.Option("--name", help="Which lab, where several are up.")]
WireArgument = Annotated[str, typer.Argument(metavar="WIRE", help="As `lab up` shows them: eth1, ...")]
DirectionOption = Annotated[Direction, typer.Option("--direction", help="By the wire's ends.")]


@app.command()
def up(
    topology: Annotated[str, typer.Argument(metavar="TOPOLOGY", help=f"One of: {', '.join(TOPOLOGIES)}.")],
    name: Annotated[str, typer.Option("--name", help="For several at once.")] = kept.DEFAULT_NAME,
    run_dir: RunDirOption = None,
) -> None:
    """Make a lab that stays, and show how to enter it.

    Example: mpbond lab up two-hosts
    """
    made = kept.up(from_option(run_dir), topology, name)
    lab = made.lab
    say(f"lab {name} ({topology}) is up; enter a host with:")
    for host in lab.topology.hosts:
        say(f"  ip netns exec {lab.ns(host.name)} env {ENVIRONMENT}={made.run_dir(host.name)} bash")
    say("its wires:")
    for line in _wires(lab.topology):
        say(f"  {line}")
    say(f"cut one: mpbond lab cut WIRE; remove the lab: mpbond lab down {name}")


def _wires(topology: Topology) -> list[str]:
    def end(at: End) -> str:
        return f"{at.host} {at.ifname} {' '.join(at.addresses)}"

    return [
        f"{wire.name}: {end(wire.a)} = {end(wire.b)}{'' if wire.guarded else ' (plain: cannot be cut)'}"
        for wire in topology.wires
    ]


def _wire_of(found: kept.KeptLab, wire: str) -> None:
    known = [guarded.name for guarded in found.lab.topology.wires if guarded.guarded]
    if wire not in known:
        raise UsageError(
            f"no wire {wire!r} to cut in lab {found.name}; there are: {', '.join(known) or 'none'}"
        )


@app.command()
def cut(
    wire: WireArgument,
    direction: DirectionOption = Direction.BOTH,
    name: NameOption = None,
    run_dir: RunDirOption = None,
) -> None:
    """Drop everything on a wire, silently: neither end loses its carrier.

    Example: mpbond lab cut eth1 --direction "a->b"
    """
    found = kept.find(from_option(run_dir), name)
    _wire_of(found, wire)
    found.lab.cut(wire, direction)
    say(f"{wire} is cut ({direction}); mpbond lab restore {wire} mends it")


@app.command()
def restore(wire: WireArgument, name: NameOption = None, run_dir: RunDirOption = None) -> None:
    """Mend a wire that was cut.

    Example: mpbond lab restore eth1
    """
    found = kept.find(from_option(run_dir), name)
    _wire_of(found, wire)
    found.lab.restore(wire)
    say(f"{wire} works")


@app.command()
def run(
    scenario: Annotated[str, typer.Argument(metavar="SCENARIO", help=f"One of: {', '.join(SCENARIOS)}.")],
) -> None:
    """Play a scenario in a lab of its own, which is gone afterwards.

    Example: mpbond lab run demo
    """
    if scenario not in SCENARIOS:
        raise UsageError(f"no scenario {scenario!r}; there are: {', '.join(SCENARIOS)}")
    # Here, as a scenario brings in much that no other command needs.
    import_module(SCENARIOS[scenario]).main()


@app.command()
def down(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Of the lab, if several.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every lab; killed tests' too.")] = False,
    run_dir: RunDirOption = None,
) -> None:
    """Remove a lab and end what runs in it.

    Example: mpbond lab down
    """
    directory = from_option(run_dir)
    if everything and name is not None:
        raise UsageError("either a NAME or --all")
    labs = kept.every(directory) if everything else [kept.find(directory, name)]
    for lab in labs:
        kept.down(lab)
        say(f"lab {lab.name} is gone")
    for orphan in kept.remove_orphans() if everything else []:
        say(f"namespace {orphan} is gone: its process had died")
