"""`mpbond lab`: networks to try a bond in, made of namespaces on this machine."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from mpbond.cli.options import RunDirOption, say
from mpbond.errors import BondError, UsageError
from mpbond.lab import kept
from mpbond.lab.bonds import inner_address
from mpbond.lab.schedule import Impairment
from mpbond.lab.topology import TOPOLOGIES, End, Topology, Wire
from mpbond.rundir import from_option

# Each makes its own lab, says what it does, and removes the lab.
SCENARIOS = {"demo": ("mpbond.lab.demo", "demo"), "failover": ("mpbond.lab.demo", "failover")}

app = typer.Typer(no_args_is_help=True, help="Networks of namespaces on this machine, to try a bond in.")


class Direction(StrEnum):
    BOTH = "both"
    A_TO_B = "a->b"
    B_TO_A = "b->a"


class Emulator(StrEnum):
    AUTO = "auto"
    NETEM = "netem"
    RELAY = "relay"


NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Of the lab, as `lab up` said it.")]
WireArgument = Annotated[str, typer.Argument(metavar="WIRE", help="As `lab up` shows them: eth1, ...")]
DirectionOption = Annotated[Direction, typer.Option("--direction", help="By the wire's ends.")]


def _require_root() -> None:
    if os.geteuid() != 0:
        raise BondError("this needs root: network namespaces are made")


@app.command()
def up(
    topology: Annotated[str, typer.Argument(metavar="TOPOLOGY", help=f"One of: {', '.join(TOPOLOGIES)}.")],
    name: Annotated[str, typer.Option("--name", help="For several at once.")] = kept.DEFAULT_NAME,
    emulator: Annotated[
        Emulator | None,
        typer.Option(
            "--emulator",
            help="Emulate its wires: by the kernel's netem, by a relay process that can also log, "
            "or auto: netem where there is one.",
            show_default="wires as fast as the machine",
        ),
    ] = None,
    run_dir: RunDirOption = None,
) -> None:
    """Make a lab that stays; show its hosts, how to enter them and how to bond them.

    Examples: mpbond lab up two-hosts

    mpbond lab up two-hosts --emulator relay
    """
    kept.check_names(topology, name)
    _require_root()
    made = kept.up(from_option(run_dir), topology, name, emulator.value if emulator else "")
    say(f"lab {name} ({topology}) is up. Its wires:")
    for line in _wires(made.lab.topology):
        say(f"  {line}")
    say("\nEnter a host:")
    for host in made.lab.topology.hosts:
        say(f"  {_enter(made, host.name)} bash")
    say("\nBond a and b; each has a run dir of its own, as they share this machine:")
    for bonded in kept.BONDED:
        say(f"  {_enter(made, bonded)} \\\n    {_mpbond(made.run_dir(bonded))} up {made.site(bonded)}")
    _say_what_next(made, _mpbond(run_dir))


def _say_what_next(made: kept.KeptLab, mpbond: str) -> None:
    say(f"\nThen:\n  {_enter(made, 'a')} ping {inner_address('b')}")
    say(f"  {_mpbond(made.run_dir('a'))} bond show host-b")
    wire = next(wire.name for wire in made.lab.topology.wires if wire.guarded)
    say(f"  {mpbond} lab cut {made.name} {wire}")
    say(f"  {mpbond} lab restore {made.name} {wire}")
    if made.emulator:
        say(f"  {mpbond} lab emulate {made.name} {wire} --delay 20 --jitter 2 --loss 1")
    say(f"  {mpbond} lab down {made.name}")


def _enter(made: kept.KeptLab, host: str) -> str:
    return f"nsenter --net=/run/netns/{made.lab.ns(host)}"


def _mpbond(run_dir: Path | str | None) -> str:
    """As it has to be typed here: an environment's `bin` need not be on PATH."""
    program = "mpbond" if shutil.which("mpbond") else sys.argv[0]
    if program.endswith("__main__.py"):
        program = f"{sys.executable} -m mpbond"
    return program if run_dir is None else f"{program} --run-dir {run_dir}"


def _wires(topology: Topology) -> list[str]:
    def end(at: End) -> str:
        return f"{at.host} {at.ifname} {' '.join(at.addresses)}"

    def note(wire: Wire) -> str:
        if wire.emulated:
            return " (emulated)"
        return "" if wire.guarded else " (plain: cannot be cut)"

    return [f"{wire.name}: {end(wire.a)} = {end(wire.b)}{note(wire)}" for wire in topology.wires]


def _find_wire(name: str, wire: str, run_dir: str | None, *, emulated: bool = False) -> kept.KeptLab:
    found = kept.find(from_option(run_dir), name)
    wires = found.lab.topology.wires
    known = [one.name for one in wires if (one.emulated if emulated else one.guarded)]
    if emulated and not known:
        raise UsageError(
            f"lab {name} has no emulated wires: `mpbond lab up {found.topology} --emulator auto`"
        )
    if wire not in known:
        what = "emulated" if emulated else "to cut"
        there = ", ".join(known) or "none"
        raise UsageError(f"no wire {wire!r} {what} in lab {name}; there are: {there}")
    _require_root()
    return found


@app.command()
def cut(
    name: NameArgument,
    wire: WireArgument,
    direction: DirectionOption = Direction.BOTH,
    run_dir: RunDirOption = None,
) -> None:
    """Drop everything on a wire, silently: neither end loses its carrier.

    Example: mpbond lab cut lab eth1 --direction "a->b"
    """
    _find_wire(name, wire, run_dir).lab.cut(wire, direction)
    say(f"{wire} is cut ({direction}); `mpbond lab restore {name} {wire}` mends it")


@app.command()
def restore(name: NameArgument, wire: WireArgument, run_dir: RunDirOption = None) -> None:
    """Mend a wire that was cut.

    Example: mpbond lab restore lab eth1
    """
    _find_wire(name, wire, run_dir).lab.restore(wire)
    say(f"{wire} works")


@app.command()
def emulate(
    name: NameArgument,
    wire: WireArgument,
    direction: DirectionOption = Direction.BOTH,
    delay: Annotated[float, typer.Option("--delay", help="Of every packet, in ms.")] = 0.0,
    jitter: Annotated[
        float, typer.Option("--jitter", help="Standard deviation of the delay, in ms; packets may overtake.")
    ] = 0.0,
    loss: Annotated[float, typer.Option("--loss", help="Percent of the packets.")] = 0.0,
    rate: Annotated[float, typer.Option("--rate", help="Mbit/s; 0: no limit.")] = 0.0,
    queue: Annotated[
        float, typer.Option("--queue", help="How much waits for the rate, in ms; more is dropped.")
    ] = 20.0,
    reorder: Annotated[float, typer.Option("--reorder", help="Percent that skip the delay.")] = 0.0,
    corrupt: Annotated[float, typer.Option("--corrupt", help="Percent that get a bit flipped.")] = 0.0,
    seed: Annotated[int | None, typer.Option("--seed", help="For the same draws again.")] = None,
    run_dir: RunDirOption = None,
) -> None:
    """Make a wire slow, lossy, narrow or faulty; what is not given is as it should be.

    Examples: mpbond lab emulate lab eth1 --delay 20 --jitter 2 --loss 1

    mpbond lab emulate lab eth1 --direction "b->a" --rate 10 --queue 50

    mpbond lab emulate lab eth1
    """
    impairments = {
        "delay_ms": delay,
        "jitter_ms": jitter,
        "loss": loss,
        "rate_mbit": rate,
        "queue_ms": queue,
        "reorder": reorder,
        "corrupt": corrupt,
    }
    Impairment(**impairments)
    _find_wire(name, wire, run_dir, emulated=True).lab.emulate(wire, direction, seed=seed, **impairments)
    say(f"{wire} is emulated ({direction}); `mpbond lab emulate {name} {wire}` makes it a good one again")


@app.command()
def log(
    name: NameArgument,
    wire: WireArgument,
    seconds: Annotated[float, typer.Option("--seconds", min=0.0, help="How long to record.")] = 5.0,
    csv: Annotated[Path | None, typer.Option("--csv", help="One line for each packet, to FILE.")] = None,
    run_dir: RunDirOption = None,
) -> None:
    """What became of the packets on an emulated wire, which the relay knows exactly.

    Examples: mpbond lab log lab eth1

    mpbond lab log lab eth1 --seconds 10 --csv packets.csv
    """
    lab = _find_wire(name, wire, run_dir, emulated=True).lab
    with lab.emulation_log(wire) as recorded:
        time.sleep(seconds)
    for line in recorded.summary():
        say(line)
    if csv is not None:
        recorded.write_csv(csv)


@app.command()
def run(
    scenario: Annotated[str, typer.Argument(metavar="SCENARIO", help=f"One of: {', '.join(SCENARIOS)}.")],
) -> None:
    """Play a scenario in a lab of its own, which is gone afterwards.

    Exit code 1 if anything it shows was not as it should be. Example: mpbond lab run demo
    """
    if scenario not in SCENARIOS:
        raise UsageError(f"no scenario {scenario!r}; there are: {', '.join(SCENARIOS)}")
    _require_root()
    # As Ctrl-C does: what the scenario made is removed on the way out.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    # Here, as a scenario brings in much that no other command needs.
    module, function = SCENARIOS[scenario]
    getattr(import_module(module), function)()


@app.command()
def down(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Of one lab; else all.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All, and those of killed tests.")] = False,
    run_dir: RunDirOption = None,
) -> None:
    """Remove a lab, or all that `lab up` made, and end what runs in them.

    Example: mpbond lab down
    """
    directory = from_option(run_dir)
    if everything and name is not None:
        raise UsageError("either a NAME or --all")
    labs = kept.every(directory) if name is None else [kept.find(directory, name)]
    if labs or everything:
        _require_root()
    for lab in labs:
        kept.down(lab)
        say(f"lab {lab.name} is gone")
    orphans = kept.remove_orphans() if everything else []
    for orphan in orphans:
        say(f"namespace {orphan} is gone: its process had died")
    if not labs and not orphans:
        say("no lab is up: nothing to do")
