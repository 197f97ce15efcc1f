"""What a configuration's keys come to: this node's identity, sessions, pre-shared keys."""

from __future__ import annotations

from dataclasses import dataclass, replace

from mpbond import keyfiles, sessions
from mpbond.config.model import Config, Peer
from mpbond.errors import BondError
from mpbond.identity import Identity, identity
from mpbond.sessions import SessionPair

NO_PSK = bytes(32)


@dataclass(frozen=True, slots=True)
class Secrets:
    """`sessions`: of peers with a shared key alone. `psks`: of peers with a public key,
    zeros where they have no pre-shared one."""

    identity: Identity | None
    sessions: dict[str, SessionPair]
    psks: dict[str, bytes]


def load(config: Config) -> tuple[Config, Secrets]:
    """Reads the key files. The configuration with this node's id in it, which may follow
    from its private key, and the secrets. Raises BondError where a file cannot be used."""
    own = _identity(config)
    if own is not None:
        config = replace(config, node=replace(config.node, id=own.id))
    shared = {peer.id: _shared(peer) for peer in config.peers}
    by_key = {peer.id for peer in config.peers if peer.public_key is not None}
    return config, Secrets(
        identity=own,
        sessions={
            peer_id: sessions.derive(key, config.node.id, peer_id)
            for peer_id, key in shared.items()
            if peer_id not in by_key
        },
        psks={peer_id: shared[peer_id] for peer_id in by_key},
    )


def _identity(config: Config) -> Identity | None:
    node = config.node
    if node.private_key is not None:
        return identity(node.private_key)
    if node.private_key_file is None:
        return None
    own = identity(keyfiles.read_private(node.private_key_file))
    if node.id not in ("", own.id):
        raise BondError(
            f"private key file {node.private_key_file}: its key's id is {own.id}, node.id is {node.id}; "
            "leave node.id out"
        )
    if any(peer.id == own.id for peer in config.peers):
        raise BondError(f"peers.{own.id}: this is the id of this node itself")
    return own


def _shared(peer: Peer) -> bytes:
    if peer.key is not None:
        return peer.key
    return keyfiles.read_shared(peer.key_file) if peer.key_file is not None else NO_PSK
