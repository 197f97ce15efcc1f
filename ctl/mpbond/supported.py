"""What a configuration may ask for that this version does not do yet.

It is parsed and validated like everything else; `up` refuses it by name instead
of running something else than was asked for. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator

from mpbond.config.model import Config, Encryption, Peer, Policy, Settings
from mpbond.errors import Unsupported

# Fields of Settings that nothing reads yet, by their key.
_SETTINGS = {
    "connectionPriorityRelay": "priority_relay",
    "connectionPriorityTcpLan": "priority_tcp_lan",
    "connectionPriorityQuicLan": "priority_quic_lan",
    "connectionPriorityTcpWan": "priority_tcp_wan",
    "connectionPriorityQuicWan": "priority_quic_wan",
    "multipathEnabled": "multipath_enabled",
}


def unsupported_policy(policy: Policy) -> Iterator[tuple[str, str]]:
    """(what, what to do instead) of what this version does not do of one policy."""
    if policy.stripe:
        yield f"policy {policy.name}: stripe", "arrives in a later version; leave it out"
    if policy.align_delay:
        yield f"policy {policy.name}: alignDelay", "arrives in a later version; leave it out"


def _peer(peer: Peer) -> Iterator[tuple[str, str]]:
    where = f"peers.{peer.id}"
    if not peer.endpoints:
        yield f"{where}.endpoints", "a peer without endpoints arrives in a later version; name at least one"
    if peer.num_connections > 1:
        yield f"{where}.numConnections", "more than one connection arrives in a later version; leave it out"
    if peer.encryption is not Encryption.NONE:
        yield f"{where}.encryption", f"{peer.encryption} arrives in a later version; leave it out"
    yield from unsupported_policy(peer.policy)


def _settings(settings: Settings) -> Iterator[tuple[str, str]]:
    default = Settings()
    for key, name in _SETTINGS.items():
        if getattr(settings, name) != getattr(default, name):
            yield f"settings.{key}", "arrives in a later version; leave it out"


def unsupported(config: Config) -> list[tuple[str, str]]:
    """(what, what to do instead) of everything that `up` would refuse."""
    found = list(_settings(config.settings))
    for peer in config.peers:
        found += _peer(peer)
    if config.api is not None:
        found.append(("api", "the REST listener arrives in a later version; leave it out"))
    return list(dict.fromkeys(found))


def refuse_unsupported(config: Config) -> None:
    found = unsupported(config)
    if found:
        what, advice = found[0]
        more = "".join(f"\n{other}: {then}" for other, then in found[1:])
        raise Unsupported(what, advice + more)
