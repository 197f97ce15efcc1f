"""What is on this machine, to be compared with what is there afterwards.

Three uses: a host in a lab before `mpbond up` and after `mpbond down`, the whole
machine before and after a lab, and, on a machine that others use too, what a lab
itself has made: is any of it left? Says what it found, in words; changes nothing.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from mpbond.kernel import bpf
from mpbond.lab.netns import Lab, LabError, command, namespaces, wait_for

# A reading is a set of sentences: what is compared is what is shown.
Leftovers = frozenset[str]

# Made by the kernel itself on every device.
_DEFAULT_QDISCS = {"noqueue", "pfifo_fast", "mq", "fq_codel"}


def machine() -> Leftovers:
    """BPF objects, namespaces and mpbond's own processes: what is shared by all who
    work on this machine, so compare it only where nobody else does."""
    programs = map(_program, _infos(bpf.program_ids()))
    return frozenset([*programs, *_maps(bpf.map_ids()), *_processes(), *_namespaces()])


def network(*namespaces: str) -> Leftovers:
    """Interfaces, addresses, routes, rules, qdiscs, filters and XDP programs of the
    named namespaces, or of the own one if none is named."""
    return frozenset(
        f"in {namespace}: {line}" if namespace else line
        for namespace in namespaces or ("",)
        for line in _network(namespace)
    )


def snapshot() -> Leftovers:
    """All of it: the machine, and the network of the own namespace."""
    return machine() | network()


def made_by(lab: Lab) -> Leftovers:
    """What a lab has on this machine now: its namespaces, what runs in them, and the
    BPF programs and maps of the bonds there. Sentences as `machine` has them."""
    names = namespaces(lab.ns(""))
    pids = {int(pid) for name in names for pid in command(["ip", "netns", "pids", name]).split()}
    programs = {number for name in names for number in _attached_programs(name)}
    maps: set[int] = set()
    for pid in pids:
        programs |= _held(pid, "prog_id")
        maps |= _held(pid, "map_id")
    infos = list(_infos(programs))
    maps.update(number for info in infos for number in info.map_ids)
    lines = [f"namespace {name}" for name in names]
    lines += [line for pid in pids for line in _process(pid)]
    return frozenset([*lines, *map(_program, infos), *_maps(maps)])


def still_there(things: Leftovers, timeout_s: float = 10.0) -> list[str]:
    """Which of these sentences are true yet, after `timeout_s` at most: the kernel
    frees maps and programs a while after the last user has let go."""
    return _settled(lambda: sorted(things & machine()), timeout_s)


def since(before: Leftovers, timeout_s: float = 10.0) -> list[str]:
    """The difference of `snapshot` to an earlier one, once things have settled."""
    return _settled(lambda: difference(before, snapshot()), timeout_s)


def _settled(read: Callable[[], list[str]], timeout_s: float) -> list[str]:
    last: list[str] = []

    def empty() -> bool:
        nonlocal last
        last = read()
        return not last

    try:
        wait_for("nothing left", empty, timeout_s, every_s=0.1)
    except LabError:
        return last
    return []


def difference(before: Leftovers, after: Leftovers) -> list[str]:
    """Sentences: `left: ...` for what is new, `gone: ...` for what is missing."""
    left = [f"left: {item}" for item in sorted(after - before)]
    return left + [f"gone: {item}" for item in sorted(before - after)]


def _infos(program_ids: Iterable[int]) -> Iterable[bpf.ProgramInfo]:
    for number in program_ids:
        try:
            fd = bpf.program_fd(number)
        except FileNotFoundError:
            continue  # it went while we were looking
        yield bpf.program_info(fd)
        os.close(fd)


def _program(info: bpf.ProgramInfo) -> str:
    return f"BPF program {info.id} {info.name}"


def _maps(map_ids: Iterable[int]) -> Iterable[str]:
    for number in map_ids:
        try:
            found = bpf.Map.by_id(number)
        except FileNotFoundError:
            continue
        yield f"BPF map {number} {found.name}"
        found.close()


def _attached_programs(namespace: str) -> set[int]:
    """Ids of the programs on the interfaces of a namespace, tc's and XDP's."""
    where = ["-n", namespace]
    links = json.loads(command(["ip", *where, "-j", "link", "show"]) or "[]")
    found = {link["xdp"]["prog"]["id"] for link in links if "xdp" in link}
    devices = {qdisc["dev"] for qdisc in _tc(where, "qdisc", "show") if qdisc["kind"] == "clsact"}
    for hook in ("ingress", "egress"):
        for device in devices:
            filters = _tc(where, "filter", "show", "dev", device, hook)
            found |= {item["options"]["prog"]["id"] for item in filters if "prog" in item.get("options", {})}
    return found


def _held(pid: int, field: str) -> set[int]:
    """Ids of the BPF objects that a process has open."""
    found: set[int] = set()
    for file in Path(f"/proc/{pid}/fdinfo").glob("*"):
        try:
            text = file.read_text()
        except OSError:
            continue  # closed meanwhile, or the whole process went
        found |= {int(number) for number in re.findall(rf"^{field}:\s*(\d+)$", text, re.MULTILINE)}
    return found


def _processes() -> Iterable[str]:
    for folder in Path("/proc").glob("[0-9]*"):
        if int(folder.name) != os.getpid():
            # The program or the module, not every editor with a file of ours open.
            yield from (line for line in _process(int(folder.name)) if _OURS.search(line))


# As a word of a command line: mpbond, .../mpbond, mpbond.lab.stream
_OURS = re.compile(r"(?:[ /]|^)mpbond(?:\.[\w.]+)?(?: |$)")


def _process(pid: int) -> Iterable[str]:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return
    line = b" ".join(words).decode(errors="replace").strip()
    if line:
        yield f"process {pid} {line}"


def _namespaces() -> Iterable[str]:
    return (f"namespace {line.split()[0]}" for line in command(["ip", "netns", "list"]).splitlines())


def _network(namespace: str) -> list[str]:
    where = ["-n", namespace] if namespace else []

    def ip(*words: str) -> list[dict[str, Any]]:
        # Nothing to show is no output at all, for some objects.
        return json.loads(command(["ip", *where, "-j", *words]) or "[]")  # type: ignore[no-any-return]

    lines = [line for link in ip("address", "show") for line in _link(link)]
    lines += [line for link in ip("link", "show") for line in _xdp(link)]
    for family in ("-4", "-6"):
        lines += [_route(route) for route in ip(family, "route", "show", "table", "all") if _is_chosen(route)]
        lines += [f"rule {family} {json.dumps(rule, sort_keys=True)}" for rule in ip(family, "rule", "show")]
    for qdisc in _tc(where, "qdisc", "show"):
        if qdisc["kind"] not in _DEFAULT_QDISCS:
            lines.append(f"qdisc {qdisc['kind']} on {qdisc['dev']}")
        if qdisc["kind"] == "clsact":
            lines += _filters(where, qdisc["dev"])
    return lines


def _link(link: dict[str, Any]) -> Iterable[str]:
    name = link["ifname"]
    yield f"interface {name} mtu {link['mtu']} {'up' if 'UP' in link['flags'] else 'down'}"
    for address in link["addr_info"]:
        # Link-local ones come and go with the carrier.
        if address and address["scope"] != "link":
            yield f"address {address['local']}/{address['prefixlen']} on {name}"


def _xdp(link: dict[str, Any]) -> Iterable[str]:
    if "xdp" in link:
        yield f"XDP program {link['xdp']['prog']['id']} on {link['ifname']}"


def _is_chosen(route: dict[str, Any]) -> bool:
    """Set by someone, not the kernel's own companion of an address."""
    return route.get("protocol") != "kernel"


def _route(route: dict[str, Any]) -> str:
    words = (f"{key} {route[key]}" for key in ("gateway", "dev", "metric", "table") if key in route)
    return f"route {route['dst']} {' '.join(words)}"


def _tc(where: list[str], *words: str) -> list[dict[str, Any]]:
    return json.loads(command(["tc", *where, "-j", *words]) or "[]")  # type: ignore[no-any-return]


def _filters(where: list[str], ifname: str) -> list[str]:
    found = []
    for hook in ("ingress", "egress"):
        try:
            filters = _tc(where, "filter", "show", "dev", ifname, hook)
        except LabError:
            continue  # the interface went while we were looking
        found += [
            f"tc {hook} filter {item['kind']} {item['options'].get('bpf_name', '')} on {ifname}"
            for item in filters
            if "options" in item
        ]
    return found
