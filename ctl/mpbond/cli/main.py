"""The command line: verbs, exit codes, and no traceback for anyone.

Exit codes: 0 done, 1 failed, 2 the input is wrong.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from mpbond import __version__
from mpbond.cli import bond, doctor, files, lab, lifecycle
from mpbond.cli.options import err
from mpbond.errors import BondError
from mpbond.rundir import ENVIRONMENT

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Multipath bonding at kernel speed: one interface over all uplinks.",
    epilog="Start with: mpbond doctor; mpbond check site.yaml; mpbond up site.yaml; mpbond bond list",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mpbond {__version__}")
        raise typer.Exit


@app.callback()
def common(
    run_dir: Annotated[
        str | None, typer.Option("--run-dir", help="As after the command.", hidden=True)
    ] = None,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True)] = False,
) -> None:
    """Options that stand before the command."""
    if run_dir is not None:
        os.environ[ENVIRONMENT] = run_dir


app.command()(files.check)
app.command()(lifecycle.plan)
app.command()(lifecycle.up)
app.command()(lifecycle.run)
app.command()(lifecycle.down)
app.add_typer(bond.app, name="bond")
app.command()(doctor.doctor)
app.command()(files.keygen)
app.command()(files.pubkey)
app.add_typer(lab.app, name="lab")


def main() -> None:
    """Entry point: errors become a message and an exit code."""
    try:
        app()
    except BondError as error:
        err.print(f"mpbond: {error}", style="red", markup=False, highlight=False)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # The reader left (`mpbond bond list | head -1`): nothing to say to anyone.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
