"""What is on this machine, to be compared with what is there afterwards.

Two uses: a host in a lab before `mpbond up` and after `mpbond down`, and the whole
machine before and after a lab. Says what changed, in words; changes nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mpbond.kernel import bpf
from mpbond.lab.netns import LabError, command

# A reading is a set of sentences: what is compared is what is shown.
Snapshot = frozenset[str]

# Made by the kernel itself on every device.
_DEFAULT_QDISCS = {"noqueue", "pfifo_fast", "mq", "fq_codel"}


def machine() -> Snapshot:
    """BPF objects, namespaces and mpbond's own processes: what is shared by all who
    work on this machine, so compare it only where nobody else does."""
    return frozenset([*_programs(), *_maps(), *_processes(), *_namespaces()])


def network(*namespaces: str) -> Snapshot:
    """Interfaces, addresses, routes, rules, qdiscs, filters and XDP programs of the
    named namespaces, or of the own one if none is named."""
    return frozenset(
        f"in {namespace}: {line}" if namespace else line
        for namespace in namespaces or ("",)
        for line in _network(namespace)
    )


def difference(before: Snapshot, after: Snapshot) -> list[str]:
    """Sentences: `left: ...` for what is new, `gone: ...` for what is missing."""
    left = [f"left: {item}" for item in sorted(after - before)]
    return left + [f"gone: {item}" for item in sorted(before - after)]


def _programs() -> Iterable[str]:
    for number in bpf.program_ids():
        try:
            fd = bpf.program_fd(number)
        except FileNotFoundError:
            continue  # it went while we were looking
        yield f"BPF program {number} {bpf.program_info(fd).name}"
        os.close(fd)


def _maps() -> Iterable[str]:
    for number in bpf.map_ids():
        try:
            found = bpf.Map.by_id(number)
        except FileNotFoundError:
            continue
        yield f"BPF map {number} {found.name}"
        found.close()


def _processes() -> Iterable[str]:
    for folder in Path("/proc").glob("[0-9]*"):
        if int(folder.name) == os.getpid():
            continue
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        # The program or the module, not every editor with a file of ours open.
        if any(
            word == b"mpbond" or word.endswith(b"/mpbond") or word.startswith(b"mpbond.") for word in words
        ):
            yield f"process {folder.name} {b' '.join(words).decode(errors='replace').strip()}"


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
