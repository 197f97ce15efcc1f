"""What this version refuses by name, rather than doing something else."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import ip_network

import pytest

from mpbond.config.model import Api, BasePolicy, Config, Encryption, Policy, RedundantRule, Settings
from mpbond.errors import EXIT_USAGE, Unsupported
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
AWARE_REFUSED = "policy own"
HERE = f"peers.{PEER.id}"
CASES = [
    Case("balance-xor", under(xor(rule("eth0"), rule("lte0", "spare"))), ()),
    Case("active-backup with all it has", under(backup(rule("eth0", to="eth1"), rule("eth1", ipv=46))), ()),
    Case("no bond", under(Policy("none", BasePolicy.NONE)), ()),
    Case("no peer", config(), ()),
    Case("balance-aware", under(AWARE), (AWARE_REFUSED,)),
    Case("balance-rr", under(replace(AWARE, base=BasePolicy.BALANCE_RR)), (AWARE_REFUSED,)),
    Case("broadcast", under(replace(AWARE, base=BasePolicy.BROADCAST)), (AWARE_REFUSED,)),
    Case(
        "redundant",
        under(replace(xor(), redundant=(RedundantRule(dscp=46),))),
        ("policy xor: redundant",),
    ),
    Case(
        "stripe",
        under(replace(AWARE, stripe=True)),
        (AWARE_REFUSED, "policy own: stripe and alignDelay"),
    ),
    Case(
        "alignDelay",
        under(replace(AWARE, align_delay=True)),
        (AWARE_REFUSED, "policy own: stripe and alignDelay"),
    ),
    Case("a policy that no peer is under", replace(config(PEER), policies=(AWARE,)), ()),
    Case(
        "a policy that two peers are under is named once",
        config(replace(PEER, policy=AWARE), replace(peer(ident="bbcdef0123"), policy=AWARE)),
        (AWARE_REFUSED,),
    ),
    Case("a public key", of_peer(key=None, public_key=bytes(32)), (f"{HERE}.publicKey",)),
    Case("a key file", of_peer(key=None, key_file="/etc/key"), ()),
    Case("a peer that calls us", of_peer(endpoints=()), (f"{HERE}.endpoints",)),
    Case("one connection, said in three ways", of_peer(num_connections=1), ()),
    Case("by default", of_peer(num_connections=0), ()),
    Case("and as Syncthing has it", of_peer(num_connections=-1), ()),
    Case("two connections", of_peer(num_connections=2), (f"{HERE}.numConnections",)),
    Case("a rate for sending", of_peer(max_send_kbps=1), (f"{HERE}: maxSendKbps and maxRecvKbps",)),
    Case("a rate for receiving", of_peer(max_recv_kbps=1), (f"{HERE}: maxSendKbps and maxRecvKbps",)),
    Case("encryption", of_peer(encryption=Encryption.WIREGUARD), (f"{HERE}.encryption",)),
    Case("the API", replace(config(PEER), api=Api("127.0.0.1:8384")), ("api",)),
    Case("settings as they are by default", of_settings(), ()),
    Case("a priority", of_settings(priority_lan=11), ("settings.connectionPriorityLan",)),
    Case(
        "all the others",
        of_settings(
            priority_wan=31,
            priority_relay=51,
            priority_upgrade_threshold=1,
            priority_tcp_lan=12,
            priority_quic_lan=22,
            priority_tcp_wan=32,
            priority_quic_wan=42,
        ),
        (
            "settings.connectionPriorityWan",
            "settings.connectionPriorityRelay",
            "settings.connectionPriorityUpgradeThreshold",
            "settings.connectionPriorityTcpLan",
            "settings.connectionPriorityQuicLan",
            "settings.connectionPriorityTcpWan",
            "settings.connectionPriorityQuicWan",
        ),
    ),
    Case(
        "what is local",
        of_settings(always_local_nets=(ip_network("10.0.0.0/8"),), limit_bandwidth_in_lan=True),
        ("settings.alwaysLocalNets", "settings.limitBandwidthInLan"),
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


def test_every_base_policy_is_run_or_refused() -> None:
    for base in BasePolicy:
        refused = unsupported(under(replace(AWARE, base=base)))
        runs = base in (BasePolicy.NONE, BasePolicy.ACTIVE_BACKUP, BasePolicy.BALANCE_XOR)
        assert bool(refused) != runs
