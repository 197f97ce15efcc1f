"""What this version refuses by name, rather than doing something else."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_network

import pytest

from mpbond.config.model import (
    Api,
    BasePolicy,
    Config,
    Encryption,
    LinkMode,
    LinkQuality,
    LinkRule,
    Policy,
    RedundantRule,
    Settings,
)
from mpbond.errors import EXIT_USAGE, Unsupported
from mpbond.policies import ASSIGN
from mpbond.supported import refuse_unsupported, unsupported
from tests.unit.host import backup, config, peer, rule, xor

PEER = peer()


@dataclass(frozen=True)
class Case:
    why: str
    config: Config
    found: tuple[str, ...]


def under(policy: Policy) -> Config:
    return config(replace(PEER, policy=policy))


def of_peer(**more: object) -> Config:
    return config(replace(PEER, **more))  # type: ignore[arg-type]


def of_settings(**more: object) -> Config:
    return replace(config(PEER), settings=Settings(**more))  # type: ignore[arg-type]


AWARE = Policy("own", BasePolicy.BALANCE_AWARE)
RR = replace(AWARE, base=BasePolicy.BALANCE_RR)
REDUNDANT = (RedundantRule(dscp=46),)
STRIPED = replace(AWARE, stripe=True)
AWARE_WITH_ALL = replace(
    AWARE,
    link_quality=LinkQuality(lat_max_ms=80),
    links=(LinkRule("eth0", capacity_mbit=1000), LinkRule("lte0", LinkMode.SPARE, capacity_mbit=50)),
)
HERE = f"peers.{PEER.id}"
CASES = [
    Case("balance-xor", under(xor(rule("eth0"), rule("lte0", "spare"))), ()),
    Case("active-backup with all it has", under(backup(rule("eth0", to="eth1"), rule("eth1", ipv=46))), ()),
    Case("no bond", under(Policy("none", BasePolicy.NONE)), ()),
    Case("no peer", config(), ()),
    Case("balance-aware with limits and capacities", under(AWARE_WITH_ALL), ()),
    Case("balance-rr, and how many packets to a link", under(replace(RR, packets_per_link=0)), ()),
    Case("broadcast", under(replace(AWARE, base=BasePolicy.BROADCAST)), ()),
    Case("redundant", under(replace(xor(), redundant=REDUNDANT)), ()),
    Case("redundant under another", under(replace(RR, redundant=REDUNDANT)), ()),
    Case("stripe", under(replace(AWARE, stripe=True)), ("policy own: stripe",)),
    Case("alignDelay", under(replace(RR, align_delay=True)), ("policy own: alignDelay",)),
    Case(
        "both, beside redundant",
        under(replace(AWARE, stripe=True, align_delay=True, redundant=REDUNDANT)),
        ("policy own: stripe", "policy own: alignDelay"),
    ),
    Case("alignDelayMax alone", under(replace(RR, align_delay_max_ms=9)), ()),
    Case("a policy that no peer is under", replace(config(PEER), policies=(STRIPED,)), ()),
    Case(
        "a policy that two peers are under is named once",
        config(replace(PEER, policy=STRIPED), replace(peer(ident="bbcdef0123"), policy=STRIPED)),
        ("policy own: stripe",),
    ),
    Case("a public key", of_peer(key=None, public_key=bytes(32)), ()),
    Case("a key file", of_peer(key=None, key_file="/etc/key"), ()),
    Case("a peer that calls us", of_peer(endpoints=()), (f"{HERE}.endpoints",)),
    Case("one connection, said in three ways", of_peer(num_connections=1), ()),
    Case("by default", of_peer(num_connections=0), ()),
    Case("and as Syncthing has it", of_peer(num_connections=-1), ()),
    Case("two connections", of_peer(num_connections=2), (f"{HERE}.numConnections",)),
    Case("rates", of_peer(max_send_kbps=1, max_recv_kbps=1), ()),
    Case("encryption", of_peer(encryption=Encryption.WIREGUARD), (f"{HERE}.encryption",)),
    Case("the API", replace(config(PEER), api=Api("127.0.0.1:8384")), ("api",)),
    Case("settings as they are by default", of_settings(), ()),
    Case("priorities", of_settings(priority_lan=11, priority_wan=31, priority_upgrade_threshold=1), ()),
    Case(
        "priorities of what there is not",
        of_settings(
            priority_relay=51,
            priority_tcp_lan=12,
            priority_quic_lan=22,
            priority_tcp_wan=32,
            priority_quic_wan=42,
        ),
        (
            "settings.connectionPriorityRelay",
            "settings.connectionPriorityTcpLan",
            "settings.connectionPriorityQuicLan",
            "settings.connectionPriorityTcpWan",
            "settings.connectionPriorityQuicWan",
        ),
    ),
    Case(
        "what is local",
        of_settings(always_local_nets=(ip_network("10.0.0.0/8"),), limit_bandwidth_in_lan=True),
        (),
    ),
    Case(
        "several things at once",
        replace(of_peer(encryption=Encryption.WIREGUARD, endpoints=()), api=Api()),
        (f"{HERE}.endpoints", f"{HERE}.encryption", "api"),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.why)
def test_unsupported(case: Case) -> None:
    found = unsupported(case.config)
    assert tuple(what for what, _ in found) == case.found
    assert all(len(advice) > 10 and "\n" not in advice for _, advice in found)


def test_what_is_supported_passes() -> None:
    refuse_unsupported(config(PEER))


def test_all_of_it_is_refused_at_once() -> None:
    with pytest.raises(Unsupported) as caught:
        refuse_unsupported(CASES[-1].config)
    lines = str(caught.value).splitlines()
    assert [line.partition(": ")[0] for line in lines] == list(CASES[-1].found)
    assert caught.value.exit_code == EXIT_USAGE
    assert caught.value.feature == CASES[-1].found[0]


@pytest.mark.parametrize("base", list(BasePolicy))
def test_every_base_policy_runs(base: BasePolicy) -> None:
    assert unsupported(under(replace(AWARE, base=base))) == []
    assert base in ASSIGN
