"""`mpbond check`, `keygen`, `pubkey`: what needs neither root nor a bond."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mpbond import keyfiles, sessions
from mpbond.cli.options import FileArgument, say, warn
from mpbond.config import load_file
from mpbond.identity import as_text, identity
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
    node = config.node.id or "(its id follows from its private key)"
    say(f"{file}: ok: node {node}, {len(config.peers)} peers, {paths} endpoints")


def keygen(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="Where to; else standard output.")
    ] = None,
    private: Annotated[
        bool, typer.Option("--private", help="This node's own key pair, not a key for two.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Make a key for a pair of nodes, the same file for both; or a node's own key pair.

    The file is readable by its owner only. It is a secret. A key for two: copy it by a way
    you trust. A private key: it stays here; the public key, which is shown, goes to the
    peers, and so does the id, which follows from it.

    Examples: mpbond keygen /etc/mpbond/office.key;
    mpbond keygen --private /etc/mpbond/private.key
    """
    key = sessions.new_key()
    if file is None:
        typer.echo(key, nl=False)
        return
    keyfiles.write(file, key, force=force)
    if private:
        say(f"{file}: a new private key, readable by its owner only")
        _say_public(sessions.parse_key(key))
    else:
        say(f"{file}: a new key, readable by its owner only; copy it to the peer")


def pubkey(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A private key file.")],
) -> None:
    """Show the public key and the id of a private key: what the peers' files need.

    Example: mpbond pubkey /etc/mpbond/private.key
    """
    _say_public(keyfiles.read_private(str(file)))


def _say_public(private: bytes) -> None:
    own = identity(private)
    say(f"public key {as_text(own.public)}")
    say(f"id {own.id}")
