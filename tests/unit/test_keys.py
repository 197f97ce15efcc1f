"""Keys in files and on the command line: made, read, refused; what they come to."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mpbond import keyfiles, sessions
from mpbond.cli.main import app
from mpbond.config.model import Node
from mpbond.controller import secrets
from mpbond.errors import BondError
from mpbond.identity import as_text, id_of, identity
from tests.unit.host import config, peer

PRIVATE = bytes(range(32))
OWN = identity(PRIVATE)
PUBLIC = identity(bytes(reversed(range(32)))).public


def run(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(words))
    return done.exit_code, done.output if done.exception is None else f"{done.output}{done.exception}"


def private_file(folder: Path, mode: int = 0o600) -> Path:
    file = folder / "private.key"
    keyfiles.write(file, as_text(PRIVATE) + "\n", force=False)
    file.chmod(mode)
    return file


# ---- the command line -----------------------------------------------------------


def test_keygen_private_shows_what_the_peers_need(tmp_path: Path) -> None:
    file = tmp_path / "private.key"
    code, said = run("keygen", "--private", str(file))
    own = identity(keyfiles.read_private(str(file)))
    assert code == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    shown = said.replace("\n", " ")
    assert f"public key {as_text(own.public)}" in shown and f"id {own.id}" in shown
    assert file.read_text().strip() not in said
    assert as_text(own.public) in run("pubkey", str(file))[1]


def test_keygen_replaces_nothing_unasked(tmp_path: Path) -> None:
    file = private_file(tmp_path)
    assert "--force replaces it" in run("keygen", "--private", str(file))[1]
    assert keyfiles.read_private(str(file)) == PRIVATE
    assert run("keygen", "--private", "--force", str(file))[0] == 0
    assert keyfiles.read_private(str(file)) != PRIVATE


def test_keygen_of_a_shared_key_is_as_before(tmp_path: Path) -> None:
    file = tmp_path / "office.key"
    code, said = run("keygen", str(file))
    assert code == 0 and "copy it to the peer" in said and "public" not in said
    assert len(sessions.parse_key(file.read_text())) == sessions.KEY_BYTES


# ---- files ----------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_private_key_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    file = private_file(tmp_path, mode)
    with pytest.raises(BondError, match=f"found mode 0{mode:o}, wanted 0600; chmod 600"):
        keyfiles.read_private(str(file))
    assert keyfiles.read_shared(str(file)) == PRIVATE, "a shared key's mode is its owner's business"


@pytest.mark.parametrize(
    ("why", "text", "found"),
    [
        ("nothing", "", "found 0 bytes, wanted 32 bytes as base64 or hex"),
        ("nonsense", "hello", "found neither base64 nor hex"),
        ("binary", "\0\udcff", "found neither base64 nor hex"),
    ],
)
def test_a_file_without_a_key(tmp_path: Path, why: str, text: str, found: str) -> None:
    file = tmp_path / "k"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    file.chmod(0o600)
    for read in (keyfiles.read_private, keyfiles.read_shared):
        with pytest.raises(BondError, match=found):
            read(str(file))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(BondError, match="No such file or directory; `mpbond keygen --private` makes one"):
        keyfiles.read_private(str(tmp_path / "none"))


# ---- what a configuration's keys come to ------------------------------------------


def test_plain_keys_give_sessions_and_no_identity() -> None:
    one = peer()
    there, found = secrets.load(config(one))
    assert found.identity is None and found.psks == {}
    assert one.key is not None
    assert found.sessions == {one.id: sessions.derive(one.key, there.node.id, one.id)}


def by_public_key(node: Node, psk: bytes | None = None) -> secrets.Secrets:
    one = replace(peer(ident=id_of(PUBLIC)), key=psk, public_key=PUBLIC)
    return secrets.load(replace(config(one, peer()), node=node))[1]


@pytest.mark.parametrize("psk", [None, bytes(range(1, 33))])
def test_public_keys_give_no_session_yet(psk: bytes | None) -> None:
    found = by_public_key(Node(OWN.id, private_key=PRIVATE), psk)
    assert found.identity == OWN
    assert list(found.sessions) == [peer().id], "that of the peer with a shared key"
    assert found.psks == {id_of(PUBLIC): psk or bytes(32)}


def test_the_id_follows_from_the_file(tmp_path: Path) -> None:
    node = Node("", private_key_file=str(private_file(tmp_path)))
    there, found = secrets.load(replace(config(), node=node))
    assert there.node.id == OWN.id and found.identity == OWN


def test_another_id_than_the_files(tmp_path: Path) -> None:
    node = Node("0123456789", private_key_file=str(private_file(tmp_path)))
    with pytest.raises(BondError, match=f"its key's id is {OWN.id}, node.id is 0123456789"):
        secrets.load(replace(config(), node=node))


def test_oneself_as_a_peer(tmp_path: Path) -> None:
    node = Node("", private_key_file=str(private_file(tmp_path)))
    with pytest.raises(BondError, match="the id of this node itself"):
        secrets.load(replace(config(peer(ident=OWN.id)), node=node))
