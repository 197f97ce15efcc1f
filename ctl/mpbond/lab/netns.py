"""Topologies made real: namespaces, wires, impairments; nothing is left behind.

Every lab has its own namespaces, named after the process that made them, and a
middle one that guarded wires run through: there nftables hands packets from one
veth to the other, whole super-packets included, and there they are dropped or
shaped. In the middle of an emulated wire netem delays them too, or, as small kernels
lack it, a process takes them from one veth to the other: relay.py.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from mpbond.errors import BondError
from mpbond.lab import emulator
from mpbond.lab.emulator import EmulationLog, EmulatorError
from mpbond.lab.schedule import Impairment
from mpbond.lab.topology import End, Topology, Wire

PREFIX = "mpb"
_MIDDLE = "mid"
_HAND_OVER = 'fwd to "{to}"'
_counter = itertools.count()

# No duplicate address detection, no router discovery: a lab is up when it is made.
_SYSCTLS = {
    "net.ipv6.conf.all.accept_dad": 0,
    "net.ipv6.conf.default.accept_dad": 0,
    "net.ipv6.conf.default.accept_ra": 0,
    "net.ipv6.conf.default.router_solicitations": 0,
    "net.ipv6.conf.all.keep_addr_on_down": 1,
    "net.ipv6.conf.default.keep_addr_on_down": 1,
}
_FORWARD = {"net.ipv4.ip_forward": 1, "net.ipv6.conf.all.forwarding": 1}


class LabError(BondError):
    """A command in the lab failed; the message has its output."""


def wait_for(what: str, condition: Callable[[], Any], timeout_s: float = 10.0, every_s: float = 0.01) -> Any:
    """Polls until `condition` gives something true, and returns it.

    Raises LabError naming `what` after the time-out.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise LabError(f"after {timeout_s:.0f} s still not: {what}")
        time.sleep(every_s)


def command(argv: Sequence[str], *, input_text: str | None = None, timeout_s: float = 60.0) -> str:
    """Runs a command and returns its output. Raises LabError if it fails."""
    done = subprocess.run(
        argv, input=input_text, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    if done.returncode != 0:
        raise LabError(
            f"{' '.join(argv)}: exit {done.returncode}: {done.stderr.strip() or done.stdout.strip()}"
        )
    return done.stdout


@dataclass(frozen=True, slots=True)
class _Side:
    """The middle's end of a guarded wire towards host `host`."""

    host: str
    ifname: str


def _sides(wire: Wire) -> tuple[_Side, _Side]:
    if not wire.guarded:
        raise LabError(f"{wire.name} is not a guarded wire: nothing in the middle to cut, lose or shape")
    return _Side(wire.a.host, f"{wire.name}-a"), _Side(wire.b.host, f"{wire.name}-b")


class Lab:
    """A topology while it is up: use it in a `with` statement.

    `emulator`, for emulated wires: "netem", "relay", or "auto" for netem where the
    kernel has it; once the lab is built, the one it has.
    """

    def __init__(self, topology: Topology, tag: str | None = None, emulator: str = "auto") -> None:
        self.topology = topology
        self.tag = tag or f"{os.getpid()}-{next(_counter)}"
        self.emulator = emulator
        self._processes: list[subprocess.Popen[Any]] = []
        self._ifindexes = itertools.count()

    def ns(self, host: str) -> str:
        """The name of a host's network namespace."""
        return f"{PREFIX}-{self.tag}-{host}"

    def __enter__(self) -> Lab:
        try:
            self.build()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    # ---- making and removing ----------------------------------------------------

    def build(self) -> None:
        hosts = [host.name for host in self.topology.hosts]
        guarded = any(wire.guarded for wire in self.topology.wires)
        for name in [*hosts, _MIDDLE] if guarded else hosts:
            command(["ip", "netns", "add", self.ns(name)])
        for host in self.topology.hosts:
            settings = _SYSCTLS | (_FORWARD if host.forward else {})
            self.run(host.name, ["sysctl", "-qw", *(f"{key}={value}" for key, value in settings.items())])
        for wire in self.topology.wires:
            self._build_wire(wire)
        self._build_emulators([wire for wire in self.topology.wires if wire.emulated])
        for host in self.topology.hosts:
            self._batch(host.name, ["link set lo up", *(self._route(*route) for route in host.routes)])
        for wire in self.topology.wires:
            if wire.rate_mbit is not None:
                self.shape(wire.name, wire.rate_mbit)

    def _batch(self, host: str, lines: Sequence[str]) -> None:
        command(["ip", "-n", self.ns(host), "-batch", "-"], input_text="\n".join(lines) + "\n")

    @staticmethod
    def _route(prefix: str, gateway: str, ifname: str, metric: int) -> str:
        return f"route add {prefix} via {gateway} dev {ifname} metric {metric or 100}"

    def _build_wire(self, wire: Wire) -> None:
        if not wire.guarded:
            self._veth(wire.a.host, wire.a.ifname, wire.b.host, wire.b.ifname, wire.mtu)
        else:
            for end, side in zip((wire.a, wire.b), _sides(wire), strict=True):
                self._veth(end.host, end.ifname, _MIDDLE, side.ifname, wire.mtu)
                self._batch(_MIDDLE, [f"link set {side.ifname} up addrgenmode none"])
            self._filter(wire, "both", [_HAND_OVER])
        for end in (wire.a, wire.b):
            self._batch(end.host, self._addressing(end))

    def _build_emulators(self, wires: Sequence[Wire]) -> None:
        if not wires:
            return
        for end in (end for wire in wires for end in (wire.a, wire.b)):
            emulator.as_on_a_real_wire(self.ns(end.host), end.ifname)
        if self.emulator == "auto":
            self.emulator = "netem" if self._has_netem() else "relay"
        if self.emulator == "netem":
            for wire in wires:
                self._netem(wire, "both", emulator.netem_words(Impairment()))
            return
        started = [(wire, self._start_relay(wire)) for wire in wires]
        for wire, relay in started:
            emulator.wait_ready(wire.name, relay)

    def _has_netem(self) -> bool:
        """Tried, on the middle's own loopback."""
        try:
            command(["tc", "-n", self.ns(_MIDDLE), "qdisc", "add", "dev", "lo", "root", "netem"])
        except LabError:
            return False
        return True

    def _start_relay(self, wire: Wire) -> subprocess.Popen[str]:
        # The relay sees packets before this hook: nothing but the relay hands them over.
        self._filter(wire, "both", ["drop"])
        argv = emulator.relay_argv(wire.name, wire.mtu, [side.ifname for side in _sides(wire)])
        # A session of its own: it stays with a lab that outlives the command that made it.
        return self.start(
            _MIDDLE, argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    def _veth(self, host_a: str, if_a: str, host_b: str, if_b: str, mtu: int) -> None:
        """A pair whose ends differ in their numbers: the kernel tells of a carrier's
        loss at once only then, else up to a second later (linkwatch_urgent_event)."""
        index = 100 + 2 * next(self._ifindexes)
        near = f"{if_a} index {index} mtu {mtu} netns {self.ns(host_a)}"
        far = f"name {if_b} index {index + 1} mtu {mtu} netns {self.ns(host_b)}"
        command(f"ip link add {near} type veth peer {far}".split())

    @staticmethod
    def _addressing(end: End) -> list[str]:
        addresses = [
            f"addr add {address} dev {end.ifname}{' nodad' if ':' in address else ''}"
            for address in end.addresses
        ]
        return [f"link set {end.ifname} up", *addresses]

    def remove(self) -> None:
        """Ends what runs in the lab and deletes its namespaces."""
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.wait()
            for pipe in (process.stdout, process.stderr):
                if pipe:
                    pipe.close()
        self._processes.clear()
        for name in namespaces(f"{PREFIX}-{self.tag}-"):
            remove_namespace(name)

    # ---- running things -----------------------------------------------------------

    def inside(self, host: str, argv: Sequence[str]) -> list[str]:
        """`argv` as it has to be called to run in a host's namespace."""
        return ["nsenter", f"--net=/run/netns/{self.ns(host)}", "--", *argv]

    def run(self, host: str, argv: Sequence[str], timeout_s: float = 60.0) -> str:
        return command(self.inside(host, argv), timeout_s=timeout_s)

    def start(self, host: str, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """A process that the lab ends, if it has not ended by then."""
        process = subprocess.Popen(self.inside(host, argv), **options)
        self._processes.append(process)
        return process

    # ---- impairments ----------------------------------------------------------------

    def _filter(self, wire: Wire, direction: str, rules: Sequence[str]) -> int:
        """Replaces what the middle does with packets of one or both directions, in
        one transaction. Returns CLOCK_REALTIME ns of just before: the command
        itself takes some 20 ms, and packets may be lost before it returns."""
        before_ns = time.time_ns()
        a, b = _sides(wire)
        pairs = {"a->b": [(a, b)], "b->a": [(b, a)], "both": [(a, b), (b, a)]}
        lines = ["add table netdev lab"]
        for source, to in pairs[direction]:
            chain = f"netdev lab from_{source.ifname.replace('-', '_')}"
            hook = f'{{ type filter hook ingress device "{source.ifname}" priority 0; }}'
            lines += [f"add chain {chain} {hook}", f"flush chain {chain}"]
            lines += [f"add rule {chain} {rule.format(to=to.ifname)}" for rule in rules]
        command(self.inside(_MIDDLE, ["nft", "-f", "-"]), input_text="\n".join(lines) + "\n")
        return before_ns

    def _gate(
        self, wire_name: str, direction: str, rules: Sequence[str], *, is_cut: bool = False, lose: float = 0.0
    ) -> int:
        """`rules` where nftables hands over, the rest where the relay does."""
        wire = self.topology.wire(wire_name)
        if not self._is_relayed(wire):
            return self._filter(wire, direction, rules)
        before_ns = time.time_ns()
        self._ask(wire, emulator.gate_request(direction, is_cut=is_cut, lose=lose))
        return before_ns

    def cut(self, wire_name: str, direction: str = "both") -> int:
        """Drops everything, silently: no end sees its carrier go.

        `direction`: both, a->b or b->a, by the wire's ends.
        """
        return self._gate(wire_name, direction, ["drop"], is_cut=True)

    def restore(self, wire_name: str, direction: str = "both") -> int:
        """The end of a cut or of losses; what `emulate` set stays."""
        return self._gate(wire_name, direction, [_HAND_OVER])

    def lose(self, wire_name: str, percent: float, direction: str = "both") -> int:
        """Drops `percent` of the packets, at random."""
        rule = f"numgen random mod 10000 < {round(percent * 100)} drop"
        return self._gate(wire_name, direction, [rule, _HAND_OVER], lose=percent)

    def shape(self, wire_name: str, rate_mbit: float, queue_ms: float = 20.0) -> None:
        """Both directions to a rate, by a token bucket with a queue of `queue_ms`."""
        wire = self.topology.wire(wire_name)
        if self._is_relayed(wire):
            self._ask(wire, emulator.shape_request(rate_mbit, queue_ms))
            return
        place = ["parent", "1:1", "handle", "10:"] if wire.emulated else ["root"]
        for side in _sides(wire):
            bucket = f"tbf rate {rate_mbit}mbit burst 16kb latency {queue_ms}ms"
            device = ["qdisc", "replace", "dev", side.ifname, *place]
            command(["tc", "-n", self.ns(_MIDDLE), *device, *bucket.split()])

    # ---- emulated wires -----------------------------------------------------------

    def emulate(
        self, wire_name: str, direction: str = "both", *, seed: int | None = None, **impairments: float
    ) -> int:
        """From now on one or both directions of an emulated wire are like this: the
        fields of schedule.Impairment, and what is not given is not impaired. In force
        when it returns; the time is that of _filter. `seed` starts the draws anew."""
        wire = self._emulated(wire_name)
        impairment = Impairment(**impairments)
        before_ns = time.time_ns()
        if self._is_relayed(wire):
            self._ask(wire, emulator.emulate_request(direction, impairment, seed))
        else:
            self._netem(wire, direction, emulator.netem_words(impairment, seed))
        return before_ns

    def emulation(self, wire_name: str) -> dict[str, Any]:
        """What a wire's relay is set to, and how many packets it holds."""
        return self._ask(self._relayed(wire_name), {"do": "show"})

    @contextmanager
    def emulation_log(self, wire_name: str) -> Iterator[EmulationLog]:
        """What becomes of each packet while the block lasts; read it after the block."""
        wire = self._relayed(wire_name)
        log = EmulationLog()
        emulator.start_log(self.ns(_MIDDLE), wire.name)
        try:
            yield log
        finally:
            emulator.stop_log(self.ns(_MIDDLE), wire.name, log)

    def _emulated(self, wire_name: str) -> Wire:
        wire = self.topology.wire(wire_name)
        if not wire.emulated:
            raise LabError(f"{wire_name} is not an emulated wire")
        return wire

    def _relayed(self, wire_name: str) -> Wire:
        wire = self._emulated(wire_name)
        if not self._is_relayed(wire):
            raise EmulatorError(f"{wire_name} is emulated by netem, which tells nothing: take the relay")
        return wire

    def _is_relayed(self, wire: Wire) -> bool:
        return wire.emulated and self.emulator == "relay"

    def _ask(self, wire: Wire, request: dict[str, Any]) -> dict[str, Any]:
        return emulator.ask(self.ns(_MIDDLE), wire.name, request)[0]

    def _netem(self, wire: Wire, direction: str, words: Sequence[str]) -> None:
        """At the end where a direction leaves the middle; a rate's tbf below it stays."""
        for way in emulator.ways(direction):
            ifname = _sides(wire)[1 - way].ifname
            device = ["qdisc", "replace", "dev", ifname, "root", "handle", "1:"]
            command(["tc", "-n", self.ns(_MIDDLE), *device, *words])

    def carrier(self, wire_name: str, host: str, up: bool) -> int:
        """The far end of a host's wire goes down or up: the host loses its carrier."""
        wire = self.topology.wire(wire_name)
        end, other = (wire.a, wire.b) if wire.a.host == host else (wire.b, wire.a)
        if wire.guarded:
            side = next(side for side in _sides(wire) if side.host == end.host)
            where, ifname = _MIDDLE, side.ifname
        else:
            where, ifname = other.host, other.ifname
        return self.link_state(where, ifname, up)

    def link_state(self, host: str, ifname: str, up: bool) -> int:
        """`ip link set IFNAME up|down`; the time is that of _filter."""
        before_ns = time.time_ns()
        self._batch(host, [f"link set {ifname} {'up' if up else 'down'}"])
        return before_ns


def namespaces(prefix: str) -> list[str]:
    """Network namespaces whose names start with `prefix`."""
    lines = command(["ip", "netns", "list"]).splitlines()
    return [line.split()[0] for line in lines if line.startswith(prefix)]


def remove_namespace(name: str) -> None:
    """Ends every process in one of the lab's namespaces, then deletes it."""
    for pid in command(["ip", "netns", "pids", name]).split():
        try:
            os.kill(int(pid), signal.SIGKILL)
        except ProcessLookupError:
            continue
    wait_for(f"{name} empty of processes", lambda: not command(["ip", "netns", "pids", name]).split())
    command(["ip", "netns", "del", name])
