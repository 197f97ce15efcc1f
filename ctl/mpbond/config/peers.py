"""`peers`: who the other ends are, how they prove it and where they are reached."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from mpbond.config.endpoint import endpoint
from mpbond.config.model import Encryption, Network, Node, Peer
from mpbond.config.reading import Parser, Section, Value, members
from mpbond.config.settings import Bonds
from mpbond.config.values import (
    choice,
    each,
    file_path,
    integer,
    key_bytes,
    network,
    peer_id,
    peer_name,
)
from mpbond.identity import id_of

T = TypeVar("T")

_INT32 = 1 << 31
_RATE = integer(0, _INT32 - 1, "KiB/s")
_ALLOWED = "a list of at least one network"


@dataclass(slots=True)
class _Taken:
    """What only one peer can have: (kind, value) -> who has it."""

    owners: dict[tuple[str, object], str] = field(default_factory=dict)

    def claim(self, kind: str, what: T, ident: str, value: Value) -> T:
        """`what`, unless another peer has it already."""
        owner = self.owners.setdefault((kind, what), ident)
        if owner != ident:
            found = "a key" if isinstance(what, bytes) else str(what)
            wanted = f"a {kind} that no other peer has"
            raise value.invalid(wanted, f"peer {owner} has it too", found)
        return what


def peers(value: Value, own: Node | None, bonds: Bonds) -> tuple[Peer, ...]:
    """`own`: None where it was reported as wrong."""
    taken = _Taken()
    parsed: list[Peer] = []
    for name, key, child in members(value):
        ident = value.reading.attempt(key, partial(_other_id, own_id=own.id if own else None), None)
        read = partial(_peer, ident=name, own=own, taken=taken, bonds=bonds)
        peer = value.reading.attempt(child, read, None)
        if ident is not None and peer is not None:
            parsed.append(peer)
    _warn_strangers({name for name, _, _ in members(value)}, bonds)
    return tuple(parsed)


def _other_id(value: Value, own_id: str | None) -> str:
    ident = peer_id(value)
    if ident == own_id:
        raise value.invalid("the id of another node", "node.id is the same")
    return ident


def _peer(value: Value, ident: str, own: Node | None, taken: _Taken, bonds: Bonds) -> Peer:
    section = Section(value)
    chosen = bonds.by_peer.get(ident)
    peer = Peer(
        id=ident,
        name=section.take("name", lambda at: taken.claim("name", peer_name(at), ident, at), None),
        policy=chosen.policy if chosen else bonds.default,
        endpoints=section.take("endpoints", each(endpoint, "a list of endpoints"), ()),
        allowed=section.need("allowed", partial(_allowed, ident=ident, taken=taken), _ALLOWED, ()),
        key=section.take("key", key_bytes, None),
        key_file=section.take("keyFile", file_path, None),
        public_key=section.take(
            "publicKey", lambda at: taken.claim("public key", key_bytes(at), ident, at), None
        ),
        num_connections=section.take("numConnections", integer(-_INT32, _INT32 - 1), 0),
        max_send_kbps=section.take("maxSendKbps", _RATE, 0),
        max_recv_kbps=section.take("maxRecvKbps", _RATE, 0),
        encryption=section.take("encryption", choice(list(Encryption)), Encryption.NONE),
    )
    section.refuse_unknown()
    _check_keys(section)
    if peer.public_key is not None:
        _check_public_key(section, peer, own)
    _warn_unnegotiated(section, peer)
    _warn_unlisted_links(section, peer)
    return peer


def _check_keys(section: Section) -> None:
    shared = [key for key in ("key", "keyFile") if section.given(key) is not None]
    if len(shared) == 2:
        section.value.report("key and keyFile", "one of them")
    elif not shared and section.given("publicKey") is None:
        section.value.report("no key", "publicKey, or one of key and keyFile")


def _check_public_key(section: Section, peer: Peer, own: Node | None) -> None:
    """Its id is the peer's, and this node has a key pair too."""
    at = section.given("publicKey")
    if at is None or peer.public_key is None:
        return
    derived = id_of(peer.public_key)
    if derived != peer.id:
        at.report(f"the key of {derived}", f"the key of {peer.id}", "a peer's id follows from its public key")
    if own is not None and not own.has_private_key:
        at.report("a public key", "a private key of this node beside it", "give node.privateKeyFile")


def _allowed(value: Value, ident: str, taken: _Taken) -> tuple[Network, ...]:
    def own(at: Value) -> Network:
        parsed = network(at)
        taken.claim("network", parsed, ident, at)
        return parsed

    read: Parser[tuple[Network, ...]] = each(own, _ALLOWED)
    networks = read(value)
    if not list(value.items(_ALLOWED)):
        raise value.invalid(_ALLOWED, found="an empty list")
    return networks


def _warn_unnegotiated(section: Section, peer: Peer) -> None:
    """With a shared key alone nothing is said of what an end wants."""
    at = section.given("numConnections")
    if at is not None and peer.num_connections > 1 and peer.public_key is None:
        at.warn(
            "has no effect with a shared key alone, where the ends agree on nothing: one connection is used; "
            "give both ends publicKey"
        )


def _warn_unlisted_links(section: Section, peer: Peer) -> None:
    listed = {rule.ifname for rule in peer.policy.links}
    at = section.given("endpoints")
    for one in peer.endpoints:
        if at is not None and listed and one.link is not None and one.link not in listed:
            at.warn(f"{one.address} is tied to {one.link}, which policy {peer.policy.name} does not use")


def _warn_strangers(known: set[str], bonds: Bonds) -> None:
    for ident, bond in bonds.by_peer.items():
        if ident not in known:
            bond.key.warn("no peer has this id, so nothing uses the entry")
