"""`mpbond check` and `keygen`: what needs neither root nor a bond."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from mpbond import sessions
from mpbond.cli.options import FileArgument, say, warn
from mpbond.config import load_file
from mpbond.errors import UsageError
from mpbond.supported import unsupported


def check(file: FileArgument) -> None:
    """Check a configuration offline: every problem at once, with its line.

    Needs neither root nor the host that the file is for. What `up` would refuse in
    this version is a warning. Exit code 0 if the file is right, 2 if not.

    Example: mpbond check site.yaml
    """
    config = load_file(file)
    for warning in config.warnings:
        warn(warning)
    for what, advice in unsupported(config):
        warn(f"`up` will refuse {what}: {advice}")
    paths = sum(len(peer.endpoints) for peer in config.peers)
    say(f"{file}: ok: node {config.node.id}, {len(config.peers)} peers, {paths} endpoints")


def keygen(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Where to; else standard output.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Make a key for a pair of nodes: the same file goes to both.

    The file is readable by its owner only. It is a secret: copy it by a way you trust.

    Example: mpbond keygen /etc/mpbond/office.key
    """
    key = sessions.new_key()
    if file is None:
        typer.echo(key, nl=False)
        return
    flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if force else os.O_EXCL)
    try:
        fd = os.open(file, flags, 0o600)
    except FileExistsError:
        raise UsageError(f"{file} exists; --force replaces it, and cuts off whoever uses it") from None
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from error
    with os.fdopen(fd, "w") as out:
        os.fchmod(fd, 0o600)
        out.write(key)
    say(f"{file}: a new key, readable by its owner only; copy it to the peer")
