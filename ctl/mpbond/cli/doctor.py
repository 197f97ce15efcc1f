"""`mpbond doctor`: what this host has, what it lacks, what to do about it."""

from __future__ import annotations

import json
from dataclasses import asdict

import typer

from mpbond import doctor as checks
from mpbond.cli.options import JsonOption, RunDirOption, out
from mpbond.errors import EXIT_FAILED
from mpbond.rundir import from_option


def doctor(as_json: JsonOption = False, run_dir: RunDirOption = None) -> None:
    """Check whether this host can run a bond, with advice where it cannot.

    Changes nothing. Exit code 1 if a bond cannot run. Example: mpbond doctor
    """
    findings = checks.run_checks(from_option(run_dir))
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        out.print(checks.render(findings))
    if checks.cannot_run(findings):
        raise typer.Exit(EXIT_FAILED)
