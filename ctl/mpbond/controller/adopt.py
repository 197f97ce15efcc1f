"""The layout that is installed, read back from the kernel alone.

What a killed controller left is found through the interface's own attachments;
peers are recognised by their ids, paths by their outer headers.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_network

import numpy as np
from pyroute2 import IPRoute

from mpbond import abi
from mpbond.config.model import Address, Config, LinkMode, Network, Peer, RxMode
from mpbond.inventory import Inventory
from mpbond.kernel import bpf, device, registry, tc
from mpbond.kernel.dataplane import Dataplane
from mpbond.kernel.entries import unpacked
from mpbond.layout import BondSpec, Layout, PathKey, PathSpec
from mpbond.sessions import SessionPair


def find(ipr: IPRoute, name: str) -> Dataplane | None:
    """The running data plane of `name`, if this version can go on with it."""
    if not registry.is_running(ipr, name):
        return None
    return Dataplane.adopt(registry.program_ids(ipr, name))


def fits(plane: Dataplane, config: Config, block: int) -> bool:
    """Are its maps large enough, and the flow map as configured?"""
    sizes = plane.sizes
    prefixes = sum(len(peer.allowed) for peer in config.peers)
    return (
        sizes.bonds >= len(config.peers)
        and sizes.block >= block
        and sizes.prefixes >= prefixes
        and sizes.flows == config.interface.flows
        and int(plane.node["port"][0]) == config.node.port
    )


def installed(
    plane: Dataplane, config: Config, inventory: Inventory, ipr: IPRoute, sessions: dict[str, SessionPair]
) -> Layout:
    """The installed layout, in the terms of `config`. Bonds of peers that are not
    in `config`, or whose shared key is another now, are taken out of the maps on the
    way. `sessions`: of peers with a shared key alone."""
    peers = {peer.id: peer for peer in config.peers}
    owned = _prefixes(plane)
    bonds: list[BondSpec] = []
    for index in range(plane.sizes.bonds):
        bond = plane.bonds[index]
        if not int(bond["flags"]) & abi.BondFlag.USED:
            continue
        peer = peers.get(f"{int(bond['peer_id']):010x}")
        if peer is None or not _same_key(plane, index, sessions.get(peer.id)):
            _forget(plane, index, owned.get(index, []))
            continue
        bonds.append(_bond(plane, inventory, index, peer, owned.get(index, [])))
    cutting = abi.BondFlag.DEVICE | abi.BondFlag.REDUNDANT
    cut = bool(np.any(plane.bonds["flags"] & int(cutting)))
    found = _layout(config, inventory, ipr, tuple(bonds), cut)
    return replace(found, listens=_listens(plane, found))


def _listens(plane: Dataplane, found: Layout) -> tuple[Address, ...]:
    """The addresses that are looked after for no path's sake."""
    keys = [np.frombuffer(raw, abi.LOCAL_KEY)[0] for raw in plane.maps["locals"].all_keys()]
    addresses = [unpacked(int(key["family"]), bytes(key["address"])) for key in keys]
    of_paths = {path.key.local for bond in found.bonds for path in bond.paths}
    return tuple(address for address in addresses if address not in of_paths)


def _same_key(plane: Dataplane, index: int, pair: SessionPair | None) -> bool:
    return pair is None or plane.sessions.sending(index) == pair.tx.number


def _layout(
    config: Config, inventory: Inventory, ipr: IPRoute, bonds: tuple[BondSpec, ...], cut: bool
) -> Layout:
    name = config.interface.name
    mp0 = inventory.link_named(name)
    ifindex = mp0.ifindex if mp0 else -1
    connected = {item.interface.network for item in inventory.addresses if item.ifindex == ifindex}
    return Layout(
        name=name,
        port=config.node.port,
        mtu=mp0.mtu if mp0 else 0,
        addresses=tuple(item.interface for item in inventory.addresses if item.ifindex == ifindex),
        routes=tuple(
            route.prefix
            for route in inventory.routes
            if route.ifindex == ifindex and route.prefix not in connected and not route.prefix.is_multicast
        ),
        bonds=bonds,
        rx=tuple(_rx(inventory, ipr, name)),
        cut=cut,
    )


def _rx(inventory: Inventory, ipr: IPRoute, name: str) -> list[tuple[str, RxMode]]:
    """AUTO stands for "as it is": only an explicit other mode attaches anew."""
    own = {device.ifindex_of(ipr, name), device.ifindex_of(ipr, f"{name}-tx")}
    return [
        (link.name, RxMode.AUTO)
        for link in inventory.links.values()
        if link.ifindex not in own
        and any(item.bond == name for item in tc.find(ipr, link.ifindex, tc.INGRESS))
    ]


def xdp_links(plane: Dataplane, ipr: IPRoute, found: Layout, inventory: Inventory) -> set[str]:
    """The links of an installed layout where our XDP program runs."""
    fd = plane.programs.get("rx_xdp")
    if fd is None:
        return set()
    ours = bpf.program_info(fd).id
    links = (inventory.link_named(name) for name, _ in found.rx)
    return {link.name for link in links if link and tc.xdp_program_id(ipr, link.ifindex) == ours}


def _prefixes(plane: Dataplane) -> dict[int, list[Network]]:
    """Bond index -> prefixes that belong to it."""
    owned: dict[int, list[Network]] = {}
    prefixes = plane.maps["prefixes"]
    for raw in prefixes.all_keys():
        value = prefixes.get(raw)
        if value is None:
            continue
        key = np.frombuffer(raw, abi.PREFIX_KEY)[0]
        size = 4 if key["family"] == abi.AF_INET else 16
        address = bytes(key["address"])[:size]
        prefix = ip_network((address, int(key["prefix_len"]) - 32))
        owned.setdefault(int(np.frombuffer(value, abi.PREFIX)[0]["bond"]), []).append(prefix)
    return owned


def _addresses(header: bytes) -> tuple[Address, Address, int]:
    """Local and remote address and remote port of a path's outer header."""
    if header[0] >> 4 == 4:
        return IPv4Address(header[12:16]), IPv4Address(header[16:20]), int.from_bytes(header[22:24], "big")
    return IPv6Address(header[8:24]), IPv6Address(header[24:40]), int.from_bytes(header[42:44], "big")


def _bond(
    plane: Dataplane, inventory: Inventory, index: int, peer: Peer, prefixes: list[Network]
) -> BondSpec:
    first = plane.path_index(index, 0)
    paths = [
        _path(plane, inventory, first + number, number)
        for number in range(plane.block)
        if int(plane.paths["flags"][first + number]) & abi.PathFlag.USED
    ]
    # Under which policy is not written down: put anew, which changes nothing if it
    # is the file's.
    policy = replace(peer.policy, name="as installed")
    return BondSpec(index, replace(peer, allowed=tuple(prefixes), policy=policy), tuple(paths))


def _path(plane: Dataplane, inventory: Inventory, index: int, number: int) -> PathSpec:
    entry = plane.paths[index]
    flags = int(entry["flags"])
    local, remote, port = _addresses(bytes(entry["header"]))
    ifindex = int(entry["ifindex"])
    link = inventory.links.get(ifindex)
    size = 4 if entry["next_hop_family"] == abi.AF_INET else 16
    hop = bytes(entry["next_hop"])[:size]
    return PathSpec(
        key=PathKey(link.name if link else f"gone-{ifindex}", local, remote, port),
        number=number,
        ifindex=ifindex,
        next_hop=IPv4Address(hop) if size == 4 else IPv6Address(hop),
        mode=LinkMode.SPARE if flags & abi.PathFlag.SPARE else LinkMode.PRIMARY,
        capacity_mbit=0,
        ipv_pref=0,
        mtu=link.mtu if link else 0,
        link_up=bool(flags & abi.PathFlag.LINK_UP),
        ethernet=link.ethernet if link else True,
        whole=not flags & abi.PathFlag.GRO,
    )


def _forget(plane: Dataplane, index: int, prefixes: list[Network]) -> None:
    """Takes out a bond of which nothing but the maps is known."""
    remotes = plane.maps["remotes"]
    for key in remotes.all_keys():
        if int(np.frombuffer(key, abi.REMOTE_KEY)[0]["bond"]) == index:
            remotes.delete(key)
    for prefix in prefixes:
        plane.remove_prefix(prefix)
    first = plane.path_index(index, 0)
    plane.paths[first : first + plane.block] = np.zeros((), abi.PATH)
    plane.remove_bond(index)
