"""A loaded data plane under test: bonds set up as the controller would, packets run.

Whatever a bond does not own in the maps is poisoned, so that a read of the wrong
entry shows.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network

import numpy as np

from mpbond import abi, sessions
from mpbond.config.model import RedundantRule
from mpbond.kernel import bpf
from mpbond.kernel.dataplane import Dataplane, PathEntry
from mpbond.kernel.sizes import Sizes
from mpbond.wire import Template, template
from tests.bpf import packets
from tests.bpf.lab import Lab, wait_until

SIZES = Sizes(bonds=3, block=20, flows=65_536, prefixes=64)
# Fixed, so that a distribution that passes once passes always.
HASH_SEED = 0x0123456789ABCDEF
# The bonds' clocks at the start: far from zero, and from any real clock.
CLOCK_NS = 10**15
SECOND_NS = 10**9
POISON = 0xA5

_PLAIN = packets.ether(packets.tcp4())
OK, SHOT, REDIRECT, UNSPEC = 0, 2, 7, 0xFFFFFFFF
XDP_DROP, XDP_PASS, XDP_REDIRECT = 1, 2, 4


@dataclass(frozen=True, slots=True)
class PathSetup:
    """One path. `proof_ms`: how much older its proof is than the bond's freshest."""

    family: int = 4
    eligible: bool = True
    spare: bool = False
    link_up: bool = True
    proof_ms: int = 0
    link: str = "wan0"
    gro: bool = False

    @property
    def flags(self) -> abi.PathFlag:
        flags = abi.PathFlag.USED
        for wanted, flag in (
            (self.eligible, abi.PathFlag.ELIGIBLE),
            (self.spare, abi.PathFlag.SPARE),
            (self.link_up, abi.PathFlag.LINK_UP),
            (self.family == 6, abi.PathFlag.IPV6),
            (self.gro, abi.PathFlag.GRO),
        ):
            flags |= flag if wanted else abi.PathFlag(0)
        return flags


@dataclass(frozen=True, slots=True)
class BondSetup:
    index: int = 0
    policy: abi.PolicyCode = abi.PolicyCode.BALANCE_XOR
    paths: tuple[PathSetup, ...] = (PathSetup(),)
    allowed: tuple[str, ...] = ("10.1.0.0/16", "fd00:1::/32")
    failover_ms: int = 1000
    down_delay_ms: int = 0
    device: bool = False
    packets_per_link: int = 0
    redundant: tuple[RedundantRule, ...] = ()
    # Slots as path numbers, repeated to fill the table; None: the preferred ones.
    slots: tuple[int, ...] | None = None


@dataclass(slots=True)
class Bond:
    """What a test needs to know of a bond: its path indices and both sessions."""

    setup: BondSetup
    pair: sessions.SessionPair
    entries: list[PathEntry] = field(default_factory=list)
    paths: list[int] = field(default_factory=list)

    @property
    def index(self) -> int:
        return self.setup.index


@dataclass(frozen=True, slots=True)
class Outcome:
    verdict: int
    reason: str
    data: bytes


def poisoned(made: Template) -> Template:
    """The template with 0xff wherever tx has to write: TOS, lengths, checksum, session."""
    header = bytearray(made.header)
    if header[0] >> 4 == 4:
        header[1:4], header[10:12], header[24:26] = b"\xff" * 3, b"\xff" * 2, b"\xff" * 2
    else:
        header[0:2], header[4:6], header[44:46] = b"\x6f\xff", b"\xff" * 2, b"\xff" * 2
    header[-8:] = b"\xff" * 8
    return Template(bytes(header), made.checksum)


class Rig:
    def __init__(self, plane: Dataplane, lab: Lab) -> None:
        self.plane, self.lab = plane, lab
        plane.node["hash_seed"] = HASH_SEED
        plane.open_for_traffic(lab.mp0, lab.far, lab.mac["mp0"], packets.PORT)

    def reset(self) -> None:
        plane = self.plane
        for name in ("prefixes", "flows", "sessions", "remotes", "locals"):
            table = plane.maps[name]
            for key in table.all_keys():
                table.delete(key)
        for index in range(SIZES.bonds):
            plane.remove_bond(index)
        plane.bonds["generation"] = 0
        plane.paths[:] = np.zeros((), abi.PATH)
        for array in (plane.paths_live, plane.path_stats):
            array.view(np.uint8)[:] = POISON
        plane.node["source_ports"] = 0
        # Probes are numbered on, whatever was there.
        plane.paths_live["probes_sent"] = 0
        plane._reasons[:] = 0
        plane.flow_cache[:] = 0
        self.lab.drain()

    # ---- setting up ---------------------------------------------------------------

    def bond(self, setup: BondSetup | None = None) -> Bond:
        setup = setup or BondSetup()
        plane, key = self.plane, bytes([setup.index + 1]) * sessions.KEY_BYTES
        bond = Bond(setup, sessions.derive(key, "us", f"peer{setup.index}"))
        plane.put_bond(
            setup.index,
            setup.policy,
            setup.failover_ms,
            setup.down_delay_ms,
            packets_per_link=setup.packets_per_link,
            device=setup.device,
            redundant=setup.redundant,
        )
        plane.sessions.put(setup.index, bond.pair)
        for prefix in setup.allowed:
            plane.put_prefix(ip_network(prefix), setup.index)
        for number, path in enumerate(setup.paths):
            self._path(bond, number, path)
        live = plane.bonds_live[setup.index]
        live["clock_ns"] = live["freshest_ns"] = CLOCK_NS
        live["last_alive_path"] = bond.paths[0] if bond.paths else abi.NO_PATH
        self._shares(bond)
        return bond

    def _path(self, bond: Bond, number: int, setup: PathSetup) -> None:
        local, remote = ip_address(packets.LOCAL[setup.family]), packets.peer_address(setup.family, number)
        made = template(local, remote, (packets.PORT, packets.PORT), number)
        entry = PathEntry(
            bond=bond.index,
            number=number,
            ifindex=self.lab.ifindex[setup.link],
            local=local,
            remote=remote,
            port=packets.PORT,
            next_hop=ip_address(packets.GATEWAY[setup.family]),
            template=poisoned(made),
            flags=setup.flags,
        )
        index = self.plane.put_path(entry)
        self.plane.paths["header"][index][len(made.header) :] = 0xFF
        self.plane.paths_live["proof_ns"][index] = CLOCK_NS - setup.proof_ms * 1_000_000
        bond.entries.append(entry)
        bond.paths.append(index)

    def _shares(self, bond: Bond) -> None:
        """Order and slots: non-spares in their order, then spares."""
        numbered = list(enumerate(bond.setup.paths))
        preferred = [bond.paths[number] for number, path in numbered if not path.spare]
        spares = [bond.paths[number] for number, path in numbered if path.spare]
        self.plane.set_order(bond.index, preferred + spares, len(preferred))
        self.plane.set_redundant_paths(bond.index, preferred or spares)
        chosen = bond.setup.slots
        table = preferred or spares if chosen is None else [bond.paths[number] for number in chosen]
        if table:
            self.set_slots(bond, table)

    def set_slots(self, bond: Bond, table: Sequence[int]) -> None:
        self.plane.set_slots(bond.index, [table[slot % len(table)] for slot in range(abi.SLOTS)])

    def learn(self, bond: Bond) -> None:
        """As if the peer had probed all paths: its path numbers are ours."""
        raw = self.plane.maps["sessions"].get(bond.pair.rx.number)
        assert raw is not None
        value = np.frombuffer(raw, abi.SESSION)[0].copy()
        value["local_path"][: len(bond.paths)] = bond.paths
        self.plane.maps["sessions"].put(bond.pair.rx.number, value.tobytes())

    # ---- running and reading --------------------------------------------------------

    def counts(self) -> dict[str, int]:
        return {name: count for name, count in self.plane.reason_counts().items() if count}

    def run(self, program: str, frame: bytes, *, ifindex: int | None = None, **fields: int) -> Outcome:
        """One packet through one program, and the one reason that it was counted under.

        Comes in on mp0's far end (tx), or on wan0 (rx), unless told otherwise."""
        context = b""
        if program != "rx_xdp":
            found = self.lab.far if program in ("tx", "probe") else self.lab.ifindex["wan0"]
            context = bpf.skb_context(ifindex=found if ifindex is None else ifindex, **fields)
        before = self.plane._reasons.sum(axis=0)
        result = bpf.test_run(self.plane.programs[program], frame, context=context)
        rise = self.plane._reasons.sum(axis=0) - before
        assert rise.sum() == 1, f"counted {int(rise.sum())} times"
        return Outcome(result.retval, abi.reasons()[int(rise.argmax())][0], result.data)

    def wait_for(self, wanted: dict[str, int], *, among: Sequence[str] = ()) -> None:
        """Until the reasons counted (of those in `among`) are exactly these."""

        def reached() -> bool:
            found = self.counts()
            return {name: found[name] for name in found if not among or name in among} == wanted

        wait_until(reached, f"{wanted}, have {self.counts()}")

    @contextmanager
    def unconfigured(self) -> Iterator[None]:
        """As before the controller's last word."""
        self.plane.node["abi_version"] = 0
        try:
            yield
        finally:
            self.plane.node["abi_version"] = abi.ABI_VERSION

    def send_one(self, bond: Bond) -> int:
        """One packet of a fixed flow; the path number that it took."""
        before = self.path_packets(bond)
        assert self.run("tx", _PLAIN).reason == "tx_sent"
        return [now - then for now, then in zip(self.path_packets(bond), before, strict=True)].index(1)

    def fast(self, program: str, ifindex: int = 0) -> FastRun:
        return FastRun(self.plane.programs[program], ifindex)

    def path_packets(self, bond: Bond, direction: str = "tx") -> list[int]:
        """Data packets counted per path."""
        return [int(self.plane.path_stats[f"{direction}_packets"][index].sum()) for index in bond.paths]

    def path_taken(self, bond: Bond) -> Callable[[], int]:
        """Tells at each call by which of the bond's paths the packet since the last went."""
        columns = [self.plane.path_stats["tx_packets"][index] for index in bond.paths]
        before = [int(column.sum()) for column in columns]

        def taken() -> int:
            now = [int(column.sum()) for column in columns]
            (number,) = (at for at, count in enumerate(now) if count != before[at])
            before[:] = now
            return number

        return taken

    def proof_ns(self, index: int) -> int:
        return int(self.plane.paths_live["proof_ns"][index])


class FastRun:
    """A test run with everything prepared: for tests with tens of thousands of packets."""

    def __init__(self, fd: int, ifindex: int) -> None:
        self._packet, self._out = ctypes.create_string_buffer(4096), ctypes.create_string_buffer(4096)
        context = bpf.skb_context(ifindex=ifindex) if ifindex else b""
        self._context = ctypes.create_string_buffer(context, len(context)) if context else None
        self._attr = ctypes.create_string_buffer(
            struct.pack(
                "=IIIIQQIIIIQQ",
                *(fd, 0, 0, 0),
                *(ctypes.addressof(self._packet), ctypes.addressof(self._out)),
                *(1, 0, len(context), 0),
                *(ctypes.addressof(self._context) if self._context else 0, 0),
            ).ljust(80, b"\0"),
            80,
        )

    def __call__(self, frame: bytes) -> int:
        """The verdict; OSError where the kernel would not even build the packet."""
        ctypes.memmove(self._packet, frame, len(frame))
        struct.pack_into("=III", self._attr, 4, 0, len(frame), len(self._out))
        bpf._bpf(10, self._attr)
        verdict: int = struct.unpack_from("=I", self._attr, 4)[0]
        return verdict
