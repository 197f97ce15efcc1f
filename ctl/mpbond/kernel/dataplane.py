"""The running programs and their maps: made, found again, written, read.

Knows the maps' layout and nothing of policies. All writes to a path's or bond's
entry go through here, so that one lock orders the controller's threads.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mpbond import abi, sources
from mpbond.config.model import Address, Network, RedundantRule
from mpbond.kernel import bpf, build, entries
from mpbond.kernel.entries import family_code, local_key, packed, prefix_key, remote_key
from mpbond.kernel.sessions import Sessions
from mpbond.kernel.sizes import Sizes, possible_cpus
from mpbond.wire import Template

Array = np.ndarray[Any, Any]
# How long a packet may be on its way out by a path that nothing was measured of yet:
# flows leave it only where they must, or after so long a silence.
FORWARD_UNKNOWN_US = 10_000_000


@dataclass(frozen=True, slots=True)
class PathEntry:
    """A path as the kernel needs it."""

    bond: int
    number: int
    ifindex: int
    local: Address
    remote: Address
    port: int
    next_hop: Address
    template: Template
    flags: abi.PathFlag


class Dataplane:
    """Programs and maps by name. `fresh` tells whether they were made just now."""

    def __init__(self, programs: dict[str, int], maps: dict[str, bpf.Map], *, fresh: bool) -> None:
        self.programs = programs
        self.maps = maps
        self.fresh = fresh
        self.lock = threading.RLock()
        self.node: Array = maps["node_map"].memory(abi.NODE)
        self.bonds: Array = maps["bonds"].memory(abi.BOND)
        self.bonds_live: Array = maps["bonds_live"].memory(abi.BOND_LIVE)
        self.weights: Array = maps["weights"].memory(abi.SLOT_TABLE)
        self.slot_bytes: Array = maps["slot_bytes"].memory(abi.COUNTER).reshape(-1, abi.SLOTS)
        self.paths: Array = maps["paths"].memory(abi.PATH)
        self.paths_live: Array = maps["paths_live"].memory(abi.PATH_LIVE)
        self.flow_cache: Array = maps["flow_cache"].memory(np.dtype("<u8"))
        self.redundant: Array = maps["redundant"].memory(abi.REDUNDANT)
        self.limits: Array = maps["limits"].memory(abi.LIMIT)
        self.copies: Array = maps["copies"].memory(abi.COPIES)
        self.cpus: int = maps["path_stats"].max_entries // maps["paths"].max_entries
        self.block: int = maps["paths"].max_entries // maps["bonds"].max_entries
        self.path_stats: Array = maps["path_stats"].memory(abi.PATH_STATS).reshape(-1, self.cpus)
        self.sessions = Sessions(self.bonds, maps["sessions"])
        self._reasons: Array = maps["reasons"].memory(abi.COUNTER).reshape(-1, abi.REASON_STRIDE)

    # ---- making and finding -------------------------------------------------

    @classmethod
    def create(cls, sizes: Sizes) -> Dataplane:
        """Compiles and loads; nothing is attached and no packet passes yet."""
        cpus = possible_cpus()
        built = build.build(sizes.defines(cpus))
        plane = cls(built.programs, {name: bpf.Map(fd) for name, fd in built.maps.items()}, fresh=True)
        plane.node["cpus"] = cpus
        plane.node["paths"], plane.node["bonds"] = sizes.bonds * sizes.block, sizes.bonds
        plane.node["hash_seed"] = secrets.randbits(64)
        plane.node["stamp_offset"] = secrets.randbits(62)
        plane.node["build_id"] = sources.build_id(sizes.defines(cpus))
        plane.bonds_live["active_path"] = abi.NO_PATH
        plane.bonds["order"] = abi.NO_PATH
        plane.weights["path"] = abi.NO_PATH
        return plane

    @classmethod
    def adopt(cls, program_ids: Iterable[int]) -> Dataplane | None:
        """The data plane that these programs belong to; None if it is not one that
        this version can go on with (other sources, or parts missing)."""
        programs: dict[str, int] = {}
        map_ids: set[int] = set()
        for program_id in program_ids:
            fd = bpf.program_fd(program_id)
            info = bpf.program_info(fd)
            if info.name in programs:
                os.close(fd)
                continue
            programs[info.name] = fd
            map_ids.update(info.map_ids)
        maps = {found.name: found for found in map(bpf.Map.by_id, map_ids)}
        if not {"tx", "probe", "rx_tc"} <= programs.keys() or not set(build.MAPS) <= maps.keys():
            return None
        if maps["node_map"].value_size != abi.NODE.itemsize:
            return None
        plane = cls(programs, maps, fresh=False)
        if int(plane.node["abi_version"][0]) != abi.ABI_VERSION:
            return None
        if int(plane.node["build_id"][0]) != sources.build_id(plane.sizes.defines(plane.cpus)):
            return None
        return plane

    @property
    def sizes(self) -> Sizes:
        return Sizes(
            bonds=self.maps["bonds"].max_entries,
            block=self.block,
            flows=self.maps["flows"].max_entries,
            prefixes=self.maps["prefixes"].max_entries,
        )

    def close(self) -> None:
        """Lets go of the file descriptors; what is attached stays."""
        for fd in self.programs.values():
            os.close(fd)
        for found in self.maps.values():
            found.close()

    def open_for_traffic(self, mp0_ifindex: int, far_ifindex: int, mac: bytes, port: int) -> None:
        """The last word of a set-up: from here on the programs act."""
        self.node["mp0_ifindex"], self.node["far_ifindex"] = mp0_ifindex, far_ifindex
        self.node["mp0_mac"] = np.frombuffer(mac, np.uint8)
        self.node["port"] = port
        self.node["abi_version"] = abi.ABI_VERSION

    # ---- bonds and their peers ----------------------------------------------

    def put_bond(
        self,
        index: int,
        policy: abi.PolicyCode,
        failover_ms: int,
        down_delay_ms: int,
        *,
        peer_id: int = 0,
        packets_per_link: int = 0,
        device: bool = False,
        redundant: Sequence[RedundantRule] = (),
    ) -> None:
        """`device`: packets pass mp0's queue, where they are cut or shaped. `peer_id`: the
        peer's id as a number, by which a controller to come knows it. `redundant`: what
        goes over two links, see `set_redundant_paths`."""
        bond = self.bonds[index]
        failover_ns = failover_ms * 1_000_000
        if not int(bond["flags"]) & abi.BondFlag.USED:
            # Random: a receiver that knew an earlier run takes it for a new one.
            self.bonds_live[index]["sequence"] = secrets.randbits(32)
        bond["packets_per_link"] = packets_per_link
        bond["peer_id"] = peer_id
        bond["policy"] = policy
        bond["first_path"] = index * self.block
        bond["path_count"] = self.block
        bond["failover_ns"] = failover_ns
        bond["down_delay_ns"] = down_delay_ms * 1_000_000
        # Half the interval: a path may then be a stall and a missed probe late
        # and still not be taken for dead.
        bond["stall_ns"] = failover_ns // 2
        self._put_rules(index, redundant)
        flags = abi.BondFlag.USED | (abi.BondFlag.DEVICE if device else 0)
        bond["flags"] = flags | (abi.BondFlag.REDUNDANT if redundant else 0)

    def _put_rules(self, index: int, redundant: Sequence[RedundantRule]) -> None:
        """None is in force while they are written."""
        entry = self.redundant[index]
        made = entries.rules(redundant)
        if int(entry["rule_count"]) == len(redundant) and entry["rule"].tobytes() == made.tobytes():
            return
        entry["rule_count"] = 0
        entry["rule"] = made
        entry["rule_count"] = len(redundant)

    def remove_bond(self, index: int) -> None:
        self.sessions.remove_all(index)
        with self.lock:
            self.bonds[index] = np.zeros((), abi.BOND)
            self.bonds[index]["order"] = abi.NO_PATH
            self.bonds_live[index] = np.zeros((), abi.BOND_LIVE)
            self.bonds_live[index]["active_path"] = abi.NO_PATH
            self.weights[2 * index : 2 * index + 2]["path"] = abi.NO_PATH
            self.copies[index] = np.zeros((), abi.COPIES)
            self.slot_bytes[index] = 0
            self.redundant[index] = np.zeros((), abi.REDUNDANT)
            self.limits[index] = np.zeros((), abi.LIMIT)

    def put_prefix(self, prefix: Network, bond: int) -> None:
        value = np.zeros((), abi.PREFIX)
        value["bond"] = bond
        self.maps["prefixes"].put(prefix_key(prefix), value.tobytes())

    def remove_prefix(self, prefix: Network) -> None:
        self.maps["prefixes"].delete(prefix_key(prefix))

    # ---- paths ----------------------------------------------------------------

    def path_index(self, bond: int, number: int) -> int:
        """A path's place in the path maps."""
        return bond * int(self.block) + number

    def put_path(self, entry: PathEntry) -> int:
        """Writes a path; the flags last, so that it is whole when it counts. A path
        that was there already keeps its measurements."""
        index = self.path_index(entry.bond, entry.number)
        path = self.paths[index]
        with self.lock:
            if not int(path["flags"]) & abi.PathFlag.USED:
                self.paths_live[index] = np.zeros((), abi.PATH_LIVE)
                self.path_stats[index] = np.zeros((), abi.PATH_STATS)
                self.set_forward(index, 0, FORWARD_UNKNOWN_US)
            path["ifindex"], path["bond"], path["number"] = entry.ifindex, entry.bond, entry.number
            path["next_hop_family"] = family_code(entry.next_hop.version)
            path["next_hop"] = np.frombuffer(packed(entry.next_hop), np.uint8)
            path["header_len"] = len(entry.template.header)
            path["header"] = np.frombuffer(entry.template.header.ljust(64, b"\0"), np.uint8)
            path["checksum"] = entry.template.checksum
            path["flags"] = int(entry.flags)
            if not entry.flags & abi.PathFlag.LINK_UP:
                self.set_link_up(index, False)
        value = np.zeros((), abi.REMOTE)
        value["path"] = index
        self.maps["remotes"].put(
            remote_key(entry.bond, entry.ifindex, entry.remote, entry.port, entry.local), value.tobytes()
        )
        local = np.zeros((), abi.LOCAL)
        local["paths"] = 1
        self.maps["locals"].put(local_key(entry.local), local.tobytes())
        return index

    def remove_path(self, entry: PathEntry, *, last_of_local: bool) -> None:
        index = self.path_index(entry.bond, entry.number)
        with self.lock:
            self.paths[index] = np.zeros((), abi.PATH)
        self.maps["remotes"].delete(
            remote_key(entry.bond, entry.ifindex, entry.remote, entry.port, entry.local)
        )
        if last_of_local:
            self.maps["locals"].delete(local_key(entry.local))

    def set_link_up(self, index: int, up: bool) -> None:
        """What netlink says of a path's link. A link that comes back has to prove its
        path anew: what was proved before it went says nothing of its other end."""
        self.set_path_flag(index, abi.PathFlag.LINK_UP, up)
        if not up:
            self.set_path_flag(index, abi.PathFlag.ELIGIBLE, False)
            for field in ("proof_ns", "answer_at_ns", "answer_stamp"):
                self.paths_live[field][index] = 0

    def set_path_flag(self, index: int, flag: abi.PathFlag, on: bool) -> None:
        with self.lock:
            flags = int(self.paths[index]["flags"])
            self.paths[index]["flags"] = flags | int(flag) if on else flags & ~int(flag)

    def set_forward(self, index: int | Array, least_us: int | Array, most_us: int | Array) -> None:
        """How long a packet is on its way out by this path, or each of these, over what the bond's fastest
        path takes: hardly ever less than `least_us`, hardly ever more than `most_us`."""
        with self.lock:
            self.paths["forward_least_us"][index] = least_us
            self.paths["forward_most_us"][index] = most_us

    # ---- what a policy decides --------------------------------------------------

    def set_order(self, bond: int, order: Sequence[int], preferred: int) -> None:
        padded = np.full(abi.MAX_BOND_PATHS, abi.NO_PATH, np.uint16)
        count = min(len(order), abi.MAX_BOND_PATHS)
        padded[:count] = order[:count]
        with self.lock:
            self.bonds[bond]["preferred_count"] = 0
            self.bonds[bond]["order"] = padded
            self.bonds[bond]["order_count"] = count
            self.bonds[bond]["preferred_count"] = min(preferred, count)

    def set_redundant_paths(self, bond: int, paths: Sequence[int]) -> None:
        """The paths for what is sent twice, best first: the first two usable ones of
        different links get it. No more than 8 count."""
        count = min(len(paths), abi.REDUNDANT_PATHS)
        with self.lock:
            entry = self.redundant[bond]
            entry["path_count"] = 0
            entry["path"][:count] = paths[:count]
            entry["path_count"] = count

    def slots(self, bond: int) -> list[int]:
        """The table in force."""
        live = int(self.bonds[bond]["generation"]) & 1
        return [int(path) for path in self.weights[2 * bond + live]["path"]]

    def set_slots(self, bond: int, table: Sequence[int]) -> None:
        """Writes the spare generation whole, then switches with one write."""
        with self.lock:
            following = (int(self.bonds[bond]["generation"]) + 1) & 1
            self.weights[2 * bond + following]["path"] = np.asarray(table, np.uint16)
            self.bonds[bond]["generation"] = following

    # ---- readings ------------------------------------------------------------------

    def reason_counts(self) -> dict[str, int]:
        """Every reason by name, summed over CPUs."""
        sums = self._reasons.sum(axis=0)
        return {name: int(sums[code]) for code, (name, _) in abi.reasons().items()}

    def flow_counts(self, seen_within_s: int, now_ns: int) -> dict[int, int]:
        """Path -> flows seen lately. Walks the flow map: for listings only."""
        flows = self.maps["flows"].values(abi.FLOW)
        recent = flows["seen_s"].astype(np.int64) >= (now_ns >> 30) - seen_within_s
        paths, counts = np.unique(flows["path"][recent], return_counts=True)
        return {int(path): int(count) for path, count in zip(paths, counts, strict=True)}
