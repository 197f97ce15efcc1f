"""abi.h, wire.h and reasons.h against their Python mirrors, as a compiler sees them."""

from __future__ import annotations

import re
from enum import IntEnum, IntFlag
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpbond import abi, wire
from mpbond.kernel import bpf
from mpbond.sources import bpf_dir
from tests.bpf import packets
from tests.bpf.host import compile_host, run_host

# Handed to a test run as bytes by controller/prober.py, so it is in no map.
TICK = np.dtype([("ethernet", "u1", 14), ("count", "<u2"), ("path", "<u2", abi.TICK_PATHS)], align=True)
STRUCTS: dict[str, np.dtype[Any]] = abi.STRUCTS | {"mpb_tick": TICK}
ENUMS: dict[str, type[IntEnum] | type[IntFlag]] = {
    "mpb_policy": abi.PolicyCode,
    "mpb_path_flag": abi.PathFlag,
    "mpb_bond_flag": abi.BondFlag,
    "mpb_mark": abi.PeerMark,
}
PREFIX_OF = {
    "mpb_policy": "MPB_POLICY_",
    "mpb_path_flag": "MPB_PATH_",
    "mpb_bond_flag": "MPB_BOND_",
    "mpb_mark": "MPB_MARK_",
}
WIRE_ORDER = {"__be16", "__be32", "__be64"}


def text(name: str) -> str:
    """A header without its comments."""
    return re.sub(r"/\*.*?\*/|//[^\n]*", "", (bpf_dir() / name).read_text(), flags=re.DOTALL)


def fields(struct: str, header: str = "abi.h") -> list[tuple[str, str]]:
    """(type, name) of each field, in order."""
    body = re.search(rf"struct {struct} {{(.*?)\n}}", text(header), re.DOTALL)
    assert body is not None, f"no struct {struct} in {header}"
    return re.findall(r"(\w+)\s+(\w+)(?:\[[^\]]*\])?;", body[1])


def defines(header: str, prefix: str) -> list[str]:
    return re.findall(rf"#define ({prefix}\w+) [^\\\n]+$", text(header), re.MULTILINE)


def members(enum: str) -> list[str]:
    body = re.search(rf"enum {enum} {{(.*?)}}", text("abi.h"), re.DOTALL)
    assert body is not None
    return re.findall(r"(\w+)\s*=", body[1])


def ask(expressions: list[str], tmp_path: Path, *flags: str) -> list[int]:
    """The values of C expressions, by a program that the host's compiler makes."""
    lines = "".join(f'\tprintf("%lld\\n", (long long)({expression}));\n' for expression in expressions)
    source = tmp_path / "ask.c"
    includes = '#include <stdio.h>\n#include "types.h"\n#include "wire.h"\n#include "reasons.h"\n'
    source.write_text(f"{includes}\nint main(void)\n{{\n{lines}\treturn 0;\n}}\n")
    return [int(line) for line in run_host(compile_host(source, tmp_path, *flags)).split()]


def test_every_struct_has_its_mirror() -> None:
    assert set(re.findall(r"^struct (\w+) {", text("abi.h"), re.MULTILINE)) == set(STRUCTS)


@pytest.mark.parametrize("struct", STRUCTS)
def test_struct(struct: str, tmp_path: Path) -> None:
    dtype = STRUCTS[struct]
    names = list(dtype.names or ())
    assert [name for _, name in fields(struct)] == names
    offsets = [f"offsetof(struct {struct}, {name})" for name in names]
    sizes = [f"sizeof(((struct {struct} *)0)->{name})" for name in names]
    found = ask([*offsets, *sizes, f"sizeof(struct {struct})"], tmp_path)
    mirror = [dtype.fields[name] for name in names] if dtype.fields else []
    wanted = [offset for _, offset, *_ in mirror] + [kind.itemsize for kind, *_ in mirror]
    assert found == [*wanted, dtype.itemsize]


@pytest.mark.parametrize("struct", STRUCTS)
def test_wire_order(struct: str) -> None:
    """`__be` in C is ">" in numpy, and nothing else is."""
    dtype = STRUCTS[struct]
    assert dtype.fields is not None
    for kind, name in fields(struct):
        assert (dtype.fields[name][0].base.byteorder == ">") == (kind in WIRE_ORDER), name


def test_no_hidden_padding(tmp_path: Path) -> None:
    """Keys are compared whole: what is in a gap would be part of them."""
    ask(["1"], tmp_path, "-Wpadded")


def test_constants(tmp_path: Path) -> None:
    names = [name for name in defines("abi.h", "MPB_") if name != "MPB_REASONS"]
    assert names
    mirror = [getattr(abi, name.removeprefix("MPB_")) for name in names]
    assert ask(names, tmp_path) == mirror


def test_address_families() -> None:
    found = dict(re.findall(r"#define (AF_\w+) (\d+)", text("parse.h")))
    assert found == {"AF_INET": str(abi.AF_INET), "AF_INET6": str(abi.AF_INET6)}


def test_every_enum_has_its_mirror() -> None:
    assert set(re.findall(r"^enum (\w+) {", text("abi.h"), re.MULTILINE)) == set(ENUMS)


@pytest.mark.parametrize("enum", ENUMS)
def test_enum(enum: str, tmp_path: Path) -> None:
    names = members(enum)
    found = dict(zip(names, ask(names, tmp_path), strict=True))
    assert found == {PREFIX_OF[enum] + member.name: member.value for member in ENUMS[enum] if member.name}


# ---- the wire -----------------------------------------------------------------------


def test_wire(tmp_path: Path) -> None:
    found = ask(
        [
            *("WIRE_VERSION", "WIRE_DATA", "WIRE_PROBE", "WIRE_ANSWER", "WIRE_HANDSHAKE", "WIRE_COPY"),
            *("sizeof(struct wire_header)", "sizeof(struct wire_probe)", "WIRE_MAC_WORDS * 8"),
            *("wire_version_type(WIRE_ANSWER)", "WIRE_OVERHEAD_V4", "WIRE_OVERHEAD_V6"),
        ],
        tmp_path,
    )
    assert found == [
        *(wire.VERSION, wire.TYPE_DATA, wire.TYPE_PROBE, wire.TYPE_ANSWER, wire.TYPE_HANDSHAKE),
        packets.FLAG_COPY,
        *(wire.HEADER_LEN, wire.PROBE_LEN, wire.HEADER_LEN + wire.PROBE_LEN - 8),
        *(wire.VERSION << 4 | wire.TYPE_ANSWER, 20 + 8 + wire.HEADER_LEN, 40 + 8 + wire.HEADER_LEN),
    ]


WIRE_FIELDS = {
    "wire_header": {
        "version_type": (0, 1),
        "flags": (1, 1),
        "path": (2, 2),
        "sequence": (4, 4),
        "session": (8, 8),
    },
    "wire_probe": {
        "sent_stamp": (0, 8),
        "answer_stamp": (8, 8),
        "hold_us": (16, 4),
        "sent_packets": (20, 4),
        "received_packets": (24, 4),
        "marks": (28, 4),
        "mac": (32, 8),
    },
}


@pytest.mark.parametrize("struct", WIRE_FIELDS)
def test_wire_layout(struct: str, tmp_path: Path) -> None:
    """Frozen: another layout needs another WIRE_VERSION."""
    wanted = WIRE_FIELDS[struct]
    assert [name for _, name in fields(struct, "wire.h")] == list(wanted)
    offsets = ask([f"offsetof(struct {struct}, {name})" for name in wanted], tmp_path)
    sizes = ask([f"sizeof(((struct {struct} *)0)->{name})" for name in wanted], tmp_path)
    assert list(zip(offsets, sizes, strict=True)) == list(wanted.values())


# ---- reasons ----------------------------------------------------------------------------

# Code = place. Append; a name that is here is never changed, moved or taken out.
REASONS = [
    "tx_sent",
    "tx_to_device",
    "tx_not_ip",
    "tx_malformed",
    "tx_no_peer",
    "tx_no_path",
    "tx_too_big",
    "tx_encap_failed",
    "tx_unconfigured",
    "rx_delivered",
    "rx_not_ours",
    "rx_truncated",
    "rx_bad_version",
    "rx_bad_type",
    "rx_unknown_session",
    "rx_inner_malformed",
    "rx_source_not_allowed",
    "rx_decap_failed",
    "rx_bad_mac",
    "rx_stale_answer",
    "rx_unknown_path",
    "rx_probe_answered",
    "rx_answer_taken",
    "rx_fragment",
    "rx_to_tc",
    "probe_sent",
    "probe_failed",
    "rx_unconfigured",
    "tx_copy_failed",
    "rx_duplicate",
    "rx_copy_late",
    "rx_handshake",
    "rx_handshake_limited",
    "rx_unanswerable",
    "rx_over_limit",
]


def test_reasons_are_append_only() -> None:
    found = abi.reasons()
    assert [found[code][0] for code in range(len(REASONS))] == REASONS
    assert sorted(found) == list(range(len(found))), "codes without gaps"


def test_reasons_are_told_apart() -> None:
    listed = re.findall(r"REASON\((\d+), (\w+),", (bpf_dir() / "reasons.h").read_text())
    assert len(listed) == len({code for code, _ in listed}) == len({name for _, name in listed})
    assert len(listed) == len(abi.reasons()), "the controller reads each of them"
    assert len({sentence for _, sentence in abi.reasons().values()}) == len(listed)


def test_reasons_as_compiled(tmp_path: Path) -> None:
    found = abi.reasons()
    values = ask([f"REASON_{name}" for name, _ in found.values()] + ["REASON_COUNT"], tmp_path)
    assert values == [*found, len(found)]
    assert len(found) <= abi.REASON_STRIDE


def test_every_reason_is_used() -> None:
    sources = "".join(text(path.name) for path in bpf_dir().glob("*.[ch]") if path.name != "reasons.h")
    for name, _ in abi.reasons().values():
        assert re.search(rf"\bREASON_{name}\b", sources), f"{name} is counted nowhere"


@pytest.mark.root
def test_maps_hold_these_structs(plane: Any) -> None:
    """bcc's own idea of the sizes, as the kernel has them."""
    values = {
        "node_map": "mpb_node",
        "bonds": "mpb_bond",
        "bonds_live": "mpb_bond_live",
        "weights": "mpb_slots",
        "paths": "mpb_path",
        "paths_live": "mpb_path_live",
        "path_stats": "mpb_path_stats",
        "prefixes": "mpb_prefix",
        "flows": "mpb_flow",
        "redundant": "mpb_redundant",
        "limits": "mpb_limit",
        "copies": "mpb_copies",
        "sessions": "mpb_session",
        "remotes": "mpb_remote",
        "locals": "mpb_local",
    }
    keys = {"prefixes": "mpb_prefix_key", "remotes": "mpb_remote_key", "locals": "mpb_local_key"}
    maps: dict[str, bpf.Map] = plane.maps
    for name, struct in values.items():
        assert maps[name].value_size == STRUCTS[struct].itemsize, name
    for name, struct in keys.items():
        assert maps[name].key_size == STRUCTS[struct].itemsize, name
    for name in ("reasons", "slot_bytes"):
        assert maps[name].value_size == abi.COUNTER.itemsize
    assert maps["flow_cache"].value_size == maps["handshake_next"].value_size == 8
    others = {"reasons", "slot_bytes", "flow_cache", "handshake_next", "handshakes"}
    assert {*values, *others} == set(maps)
