"""Readings of a machine compared: sentences, in a stable order."""

from __future__ import annotations

import json

import pytest

from mpbond.lab import leftovers
from mpbond.lab.netns import LabError

OUTPUT = {
    "address show": [
        {
            "ifname": "eth1",
            "mtu": 1500,
            "flags": ["BROADCAST", "UP"],
            "addr_info": [
                {"local": "10.77.1.1", "prefixlen": 24, "scope": "global"},
                {"local": "fe80::1", "prefixlen": 64, "scope": "link"},
            ],
        },
        {"ifname": "mp0", "mtu": 1456, "flags": [], "addr_info": [{}]},
    ],
    "link show": [{"ifname": "eth1", "xdp": {"prog": {"id": 12}}}, {"ifname": "mp0"}],
    "-4 route show table all": [
        {"dst": "10.99.0.2", "dev": "mp0", "protocol": "static", "metric": 5},
        {"dst": "10.77.1.0/24", "dev": "eth1", "protocol": "kernel"},
    ],
    "-6 route show table all": [],
    "-4 rule show": [],
    "-6 rule show": [],
    "qdisc show": [
        {"kind": "noqueue", "dev": "lo"},
        {"kind": "clsact", "dev": "eth1"},
        {"kind": "tbf", "dev": "mp0"},
    ],
    "filter show dev eth1 ingress": [
        {"kind": "bpf"},
        {"kind": "bpf", "options": {"bpf_name": "mpbond:mp0"}},
    ],
    "filter show dev eth1 egress": None,
}

SEEN = {
    "in x: interface eth1 mtu 1500 up",
    "in x: interface mp0 mtu 1456 down",
    "in x: address 10.77.1.1/24 on eth1",
    "in x: XDP program 12 on eth1",
    "in x: route 10.99.0.2 dev mp0 metric 5",
    "in x: qdisc clsact on eth1",
    "in x: qdisc tbf on mp0",
    "in x: tc ingress filter bpf mpbond:mp0 on eth1",
}


def fake_command(argv: list[str]) -> str:
    tool, switch, namespace, json_switch, *words = argv
    assert (switch, namespace, json_switch) == ("-n", "x", "-j") and tool in ("ip", "tc")
    output = OUTPUT[" ".join(words)]
    if output is None:
        raise LabError("no such interface")
    return json.dumps(output) if output else ""


def test_a_network_in_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "command", fake_command)
    assert leftovers.network("x") == SEEN


def test_no_difference() -> None:
    assert leftovers.difference(frozenset(SEEN), frozenset(SEEN)) == []


def test_what_is_left_comes_before_what_is_gone() -> None:
    before, after = frozenset({"a", "b"}), frozenset({"b", "d", "c"})
    assert leftovers.difference(before, after) == ["left: c", "left: d", "gone: a"]
