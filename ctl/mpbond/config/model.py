"""The configuration as the rest of the program sees it: frozen, complete, checked.

Units are in the names. Whatever an optional key leaves open is None or the
documented default here; nothing downstream fills in anything. The meaning of
every key is in docs/policies.md; the source is ZeroTier's multipath document.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network

DEFAULT_PORT = 9944
DEFAULT_FLOWS = 262_144
DEFAULT_FAILOVER_MS = 5000
DEFAULT_PACKETS_PER_LINK = 64

# How many `redundant` rules a policy may have, and ports and ranges each: the kernel's
# bounds, see bpf/abi.h.
REDUNDANT_RULES = 8
RULE_RANGES = 8
# The names a `redundant` rule may give, with their IP protocol numbers.
PROTOCOLS = {"icmp": 1, "tcp": 6, "udp": 17, "gre": 47, "esp": 50, "icmpv6": 58, "sctp": 132}


class BasePolicy(StrEnum):
    """The five standard policies; `NONE` is one path and no bond."""

    NONE = "none"
    ACTIVE_BACKUP = "active-backup"
    BROADCAST = "broadcast"
    BALANCE_RR = "balance-rr"
    BALANCE_XOR = "balance-xor"
    BALANCE_AWARE = "balance-aware"


class LinkMode(StrEnum):
    PRIMARY = "primary"
    SPARE = "spare"


class SelectMethod(StrEnum):
    """When an active-backup bond changes its active link."""

    OPTIMIZE = "optimize"
    ALWAYS = "always"
    BETTER = "better"
    FAILURE = "failure"


class RxMode(StrEnum):
    """Where a link's packets are taken: tc ingress, native XDP, or by driver."""

    AUTO = "auto"
    TC = "tc"
    XDP = "xdp"


class Encryption(StrEnum):
    NONE = "none"
    WIREGUARD = "wireguard"


@dataclass(frozen=True, slots=True)
class LinkQuality:
    """Limits and weights; latencies in ms, loss and error as ratios 0..1."""

    lat_max_ms: float = 500.0
    pdv_max_ms: float = 100.0
    plr_max: float = 0.001
    per_max: float = 0.0001
    lat_weight: float = 0.25
    pdv_weight: float = 0.25
    plr_weight: float = 0.25
    per_weight: float = 0.25


@dataclass(frozen=True, slots=True)
class LinkRule:
    """What a policy says of one interface. `capacity_mbit` 0 = not given."""

    ifname: str
    mode: LinkMode = LinkMode.PRIMARY
    capacity_mbit: int = 0
    ipv_pref: int = 0
    failover_to: str | None = None


@dataclass(frozen=True, slots=True)
class RedundantRule:
    """Traffic to send twice; every field given must match."""

    dscp: int | None = None
    protocol: str | None = None
    ports: tuple[tuple[int, int], ...] = ()
    max_size: int | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """A standard or custom policy with every parameter resolved.

    `links` is in the order of the file; empty = every usable interface.
    `primary` is the ifname of an active-backup bond's primary link; None under
    every other policy and where no links are listed. A link that is neither the
    primary nor a spare is a plain candidate, of mode PRIMARY.
    """

    name: str
    base: BasePolicy
    failover_interval_ms: int = DEFAULT_FAILOVER_MS
    up_delay_ms: int = 0
    down_delay_ms: int = 0
    packets_per_link: int = DEFAULT_PACKETS_PER_LINK
    link_select_method: SelectMethod = SelectMethod.OPTIMIZE
    link_quality: LinkQuality = field(default_factory=LinkQuality)
    links: tuple[LinkRule, ...] = ()
    redundant: tuple[RedundantRule, ...] = ()
    stripe: bool = False
    align_delay: bool = False
    align_delay_max_ms: int = 150
    primary: str | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A remote address; `link` ties it to one interface."""

    address: Address
    port: int = DEFAULT_PORT
    link: str | None = None


@dataclass(frozen=True, slots=True)
class Peer:
    """A remote node. At most one of key and key_file is set.

    `key` is the 256-bit shared key itself; `key_file` is a path, made absolute against
    the configuration file's folder. With `public_key` either is a pre-shared key on top
    of the handshake, without it one of them is all there is. Rates are KiB/s, 0 = none.
    """

    id: str
    name: str | None
    policy: Policy
    endpoints: tuple[Endpoint, ...]
    allowed: tuple[Network, ...]
    key: bytes | None = field(default=None, repr=False)
    key_file: str | None = None
    public_key: bytes | None = None
    num_connections: int = 0
    max_send_kbps: int = 0
    max_recv_kbps: int = 0
    encryption: Encryption = Encryption.NONE


@dataclass(frozen=True, slots=True)
class Node:
    """This host. At most one of the private keys is set. `id` is empty where it was left
    out and the private key is in a file: it follows from that."""

    id: str
    port: int = DEFAULT_PORT
    private_key: bytes | None = field(default=None, repr=False)
    private_key_file: str | None = None

    @property
    def has_private_key(self) -> bool:
        return self.private_key is not None or self.private_key_file is not None


@dataclass(frozen=True, slots=True)
class BondInterface:
    """mp0 itself. `mtu` None = from the paths; `flows` = flow map entries.

    `rx_links` names the links that differ from `rx`.
    """

    name: str = "mp0"
    addresses: tuple[Interface, ...] = ()
    mtu: int | None = None
    rx: RxMode = RxMode.AUTO
    flows: int = DEFAULT_FLOWS
    rx_links: tuple[tuple[str, RxMode], ...] = ()


@dataclass(frozen=True, slots=True)
class Settings:
    """Keys of `settings` besides the policies (Syncthing's names)."""

    multipath_enabled: bool = True
    priority_lan: int = 10
    priority_wan: int = 30
    priority_relay: int = 50
    priority_upgrade_threshold: int = 0
    always_local_nets: tuple[Network, ...] = ()
    limit_bandwidth_in_lan: bool = False
    priority_tcp_lan: int = 10
    priority_quic_lan: int = 20
    priority_tcp_wan: int = 30
    priority_quic_wan: int = 40


@dataclass(frozen=True, slots=True)
class Api:
    listen: str | None = None
    token_file: str | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """One whole file. `warnings` are rendered lines for the user.

    `policies` holds the custom ones by name; `default_policy` is what a peer
    not named in peerSpecificBonds got.
    """

    file: str
    node: Node
    interface: BondInterface
    settings: Settings
    default_policy: Policy
    policies: tuple[Policy, ...]
    peers: tuple[Peer, ...]
    api: Api | None = None
    warnings: tuple[str, ...] = ()
