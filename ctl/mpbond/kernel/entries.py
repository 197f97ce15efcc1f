"""Keys and values of the maps, made of the configuration's terms. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import numpy as np

from mpbond import abi
from mpbond.config.model import PROTOCOLS, Address, Network, RedundantRule


def packed(address: Address) -> bytes:
    return address.packed.ljust(16, b"\0")


def unpacked(family: int, raw: bytes) -> Address:
    """An address as the maps have it: IPv4 in the first of 16 bytes."""
    return IPv4Address(raw[:4]) if family == abi.AF_INET else IPv6Address(raw)


def family_code(version: int) -> int:
    return abi.AF_INET if version == 4 else abi.AF_INET6


def prefix_key(prefix: Network) -> bytes:
    key = np.zeros((), abi.PREFIX_KEY)
    key["prefix_len"] = 32 + prefix.prefixlen
    key["family"] = family_code(prefix.version)
    key["address"] = np.frombuffer(prefix.network_address.packed.ljust(16, b"\0"), np.uint8)
    return key.tobytes()


def remote_key(bond: int, ifindex: int, address: Address, port: int, local: Address) -> bytes:
    key = np.zeros((), abi.REMOTE_KEY)
    key["bond"], key["ifindex"], key["port"] = bond, ifindex, port
    key["family"] = family_code(address.version)
    key["address"] = np.frombuffer(packed(address), np.uint8)
    key["local"] = np.frombuffer(packed(local), np.uint8)
    return key.tobytes()


def local_key(address: Address) -> bytes:
    key = np.zeros((), abi.LOCAL_KEY)
    key["family"] = family_code(address.version)
    key["address"] = np.frombuffer(packed(address), np.uint8)
    return key.tobytes()


def rules(redundant: Sequence[RedundantRule]) -> np.ndarray[Any, Any]:
    """A policy's rules, at most 8 of at most 8 port ranges each, as an array of 8."""
    entries = np.zeros(abi.REDUNDANT_RULES, abi.RULE)
    for entry, rule in zip(entries, redundant, strict=False):
        if rule.dscp is not None:
            entry["tos"], entry["tos_mask"] = rule.dscp << 2, 0xFC
        if rule.protocol is not None:
            entry["protocol"], entry["protocol_mask"] = PROTOCOLS[rule.protocol], 0xFF
        entry["max_size"] = 65_535 if rule.max_size is None else rule.max_size
        ranges = rule.ports or ((0, 65_535),)
        entry["range_count"] = len(ranges)
        for at, (low, high) in enumerate(ranges):
            entry["low"][at], entry["high"][at] = low, high
    return entries
