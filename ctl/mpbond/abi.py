"""The controller's mirror of bpf/abi.h: numpy dtypes of what lies in the maps.

Nothing here that the C file lacks; tests/bpf/test_abi.py compares sizes, offsets
and constants with what the compiler says. Reasons are read from bpf/reasons.h
itself, so there is no second list.
"""

from __future__ import annotations

import re
from enum import IntEnum, IntFlag
from functools import cache

import numpy as np

from mpbond.sources import bpf_dir

ABI_VERSION = 6
SLOTS = 256
MAX_BOND_PATHS = 128
MAX_CONNECTIONS = 128
NO_PATH = 0xFFFF
NO_SLOT = 0xFFFF
RTT_SAMPLES = 64
TICK_PATHS = 1024
WINDOW_WORDS = 256
REDUNDANT_RULES = 8
RULE_RANGES = 8
REDUNDANT_PATHS = 8
MARK_POLICY = 0xFF
REASON_STRIDE = 64
HANDSHAKE_MAX = 416
HANDSHAKE_BUCKETS = 256
HANDSHAKE_HZ = 20
HANDSHAKE_BURST = 64
CONTROL_HZ = 200
CONTROL_BURST = 256

AF_INET = 2
AF_INET6 = 10


class PolicyCode(IntEnum):
    ACTIVE_BACKUP = 1
    BROADCAST = 2
    BALANCE_RR = 3
    BALANCE_XOR = 4
    BALANCE_AWARE = 5


class PathFlag(IntFlag):
    USED = 1 << 0
    ELIGIBLE = 1 << 1
    SPARE = 1 << 2
    LINK_UP = 1 << 3
    IPV6 = 1 << 4
    GRO = 1 << 5
    PEER_SPARE = 1 << 6
    LEAVE = 1 << 7
    EXEMPT = 1 << 8


class PeerMark(IntFlag):
    SPARE = 1 << 8
    SURPLUS = 1 << 16
    VALID = 1 << 30


class BondFlag(IntFlag):
    USED = 1 << 0
    DEVICE = 1 << 1
    NO_FLOWLETS = 1 << 2
    REDUNDANT = 1 << 3


NODE = np.dtype(
    [
        ("abi_version", "<u4"),
        ("cpus", "<u4"),
        ("mp0_ifindex", "<u4"),
        ("far_ifindex", "<u4"),
        ("mp0_mac", "u1", 6),
        ("port", ">u2"),
        ("paths", "<u4"),
        ("bonds", "<u4"),
        ("hash_seed", "<u8"),
        ("stamp_offset", "<u8"),
        ("build_id", "<u8"),
        ("handshake_tag", "<u8"),
        ("limiting", "<u4"),
        ("source_ports", "<u4"),
        ("source_port", ">u2", MAX_CONNECTIONS),
    ],
    align=True,
)

LIMIT = np.dtype(
    [
        ("send_class", "<u4"),
        ("pad", "<u4"),
        ("recv_ns_per_mib", "<u8"),
        ("recv_burst_ns", "<u8"),
        ("recv_free_ns", "<u8"),
    ],
    align=True,
)

BOND = np.dtype(
    [
        ("flags", "<u4"),
        ("policy", "<u4"),
        ("generation", "<u4"),
        ("first_path", "<u4"),
        ("path_count", "<u4"),
        ("order_count", "<u4"),
        ("preferred_count", "<u4"),
        ("packets_per_link", "<u4"),
        ("failover_ns", "<u8"),
        ("down_delay_ns", "<u8"),
        ("stall_ns", "<u8"),
        ("rtt_max_ns", "<u8"),
        ("tx_session", "<u8", 2),
        ("tx_mac_key", "<u8", 4),
        ("tx_live", "<u4"),
        ("metadata_path", "<u4"),
        ("peer_id", "<u8"),
        ("order", "<u2", MAX_BOND_PATHS),
    ],
    align=True,
)

BOND_LIVE = np.dtype(
    [
        ("clock_ns", "<u8"),
        ("clock_read_ns", "<u8"),
        ("clock_hold_ns", "<u8"),
        ("freshest_ns", "<u8"),
        ("last_alive_path", "<u8"),
        ("active_path", "<u8"),
        ("failovers", "<u8"),
        ("turn", "<u8"),
        ("sequence", "<u8"),
        ("moved_flows", "<u8"),
        ("surplus", "<u8"),
        ("surplus_ns", "<u8"),
    ],
    align=True,
)

RULE = np.dtype(
    [
        ("tos", "u1"),
        ("tos_mask", "u1"),
        ("protocol", "u1"),
        ("protocol_mask", "u1"),
        ("max_size", "<u4"),
        ("range_count", "<u4"),
        ("low", "<u2", RULE_RANGES),
        ("high", "<u2", RULE_RANGES),
    ],
    align=True,
)

REDUNDANT = np.dtype(
    [
        ("rule_count", "<u4"),
        ("path_count", "<u4"),
        ("path", "<u2", REDUNDANT_PATHS),
        ("rule", RULE, REDUNDANT_RULES),
    ],
    align=True,
)

COPIES = np.dtype([("word", "<u8", WINDOW_WORDS), ("behind", "<u8")], align=True)

SLOT_TABLE = np.dtype([("path", "<u2", SLOTS)], align=True)

PATH = np.dtype(
    [
        ("flags", "<u4"),
        ("ifindex", "<u4"),
        ("bond", "<u4"),
        ("next_hop_family", "<u4"),
        ("next_hop", "u1", 16),
        ("header_len", "<u4"),
        ("checksum", "<u4"),
        ("header", "u1", 64),
        ("number", "<u4"),
        ("forward_least_us", "<u4"),
        ("forward_most_us", "<u4"),
        ("connections", "<u4"),
        ("moved", "<u4"),
        ("pad", "<u4"),
    ],
    align=True,
)

ENDPOINT = np.dtype(
    [
        ("address", "u1", 16),
        ("next_hop", "u1", 16),
        ("next_hop_family", "<u4"),
        ("checksum", "<u4"),
        ("port", ">u2"),
        ("pad0", "<u2"),
        ("pad", "<u4"),
    ],
    align=True,
)

PATH_LIVE = np.dtype(
    [
        ("proof_ns", "<u8"),
        ("proof_at_ns", "<u8"),
        ("answer_stamp", "<u8"),
        ("answer_at_ns", "<u8"),
        ("acked_stamp", "<u8"),
        ("last_in_ns", "<u8"),
        ("last_out_ns", "<u8"),
        ("probes_sent", "<u8"),
        ("probes_answered", "<u8"),
        ("answered_mask", "<u8"),
        ("answered_highest", "<u4"),
        ("pad0", "<u4"),
        ("rtt_count", "<u4"),
        ("rtt_ns", "<u4", RTT_SAMPLES),
        ("peer_sent_packets", "<u4"),
        ("peer_received_packets", "<u4"),
        ("peer_marks", "<u4"),
        ("forward_ns", "<u8", RTT_SAMPLES),
        ("sent_at", "<u4", RTT_SAMPLES),
        ("paired_sent", "<u4"),
        ("paired_received", "<u4"),
        ("checked", "<u8"),
        ("failed", "<u8"),
        ("moved", ENDPOINT, 2),
        ("moved_at_ns", "<u8"),
        ("moves", "<u4"),
        ("peer_path", "<u4"),
    ],
    align=True,
)

FAR = np.dtype(
    [
        ("made_ns", "<u8"),
        ("seen", "<u8"),
        ("acked_stamp", "<u8"),
        ("at_ns", "<u8"),
        ("newest", "<u4"),
        ("ifindex", "<u4"),
        ("remote", "u1", 16),
        ("local", "u1", 16),
        ("family", "<u4"),
        ("port", ">u2"),
        ("pad", "<u2"),
    ],
    align=True,
)

PATH_STATS = np.dtype(
    [
        ("tx_packets", "<u8"),
        ("tx_bytes", "<u8"),
        ("rx_packets", "<u8"),
        ("rx_bytes", "<u8"),
        ("last_rx_ns", "<u8"),
        ("last_tx_ns", "<u8"),
        ("pad", "<u8", 2),
    ],
    align=True,
)

COUNTER = np.dtype("<u8")

PREFIX_KEY = np.dtype([("prefix_len", "<u4"), ("family", "<u4"), ("address", "u1", 16)], align=True)
PREFIX = np.dtype([("bond", "<u4")], align=True)
FLOW = np.dtype([("path", "<u2"), ("slot", "<u2"), ("seen_s", "<u4")], align=True)
SESSION = np.dtype(
    [
        ("bond", "<u4"),
        ("heard", "<u4"),
        ("connections", "<u4"),
        ("offered", "<u4"),
        ("made_ns", "<u8"),
        ("control_next_ns", "<u8"),
        ("rx_mac_key", "<u8", 2),
        ("local_path", "<u2", MAX_BOND_PATHS),
    ],
    align=True,
)
REMOTE_KEY = np.dtype(
    [
        ("bond", "<u4"),
        ("ifindex", "<u4"),
        ("address", "u1", 16),
        ("local", "u1", 16),
        ("family", "<u4"),
        ("port", ">u2"),
        ("pad", "<u2"),
    ],
    align=True,
)
REMOTE = np.dtype([("path", "<u4")], align=True)
LOCAL_KEY = np.dtype([("family", "<u4"), ("address", "u1", 16)], align=True)
LOCAL = np.dtype([("paths", "<u4")], align=True)
HANDSHAKE = np.dtype(
    [
        ("ifindex", "<u4"),
        ("family", "<u4"),
        ("remote", "u1", 16),
        ("local", "u1", 16),
        ("port", ">u2"),
        ("len", "<u2"),
        ("pad", "<u4"),
        ("message", "u1", HANDSHAKE_MAX),
    ],
    align=True,
)

# C name -> dtype: what tests/bpf/test_abi.py walks.
STRUCTS = {
    "mpb_node": NODE,
    "mpb_bond": BOND,
    "mpb_bond_live": BOND_LIVE,
    "mpb_copies": COPIES,
    "mpb_rule": RULE,
    "mpb_redundant": REDUNDANT,
    "mpb_slots": SLOT_TABLE,
    "mpb_path": PATH,
    "mpb_endpoint": ENDPOINT,
    "mpb_path_live": PATH_LIVE,
    "mpb_far": FAR,
    "mpb_path_stats": PATH_STATS,
    "mpb_prefix_key": PREFIX_KEY,
    "mpb_prefix": PREFIX,
    "mpb_flow": FLOW,
    "mpb_limit": LIMIT,
    "mpb_session": SESSION,
    "mpb_remote_key": REMOTE_KEY,
    "mpb_remote": REMOTE,
    "mpb_local_key": LOCAL_KEY,
    "mpb_local": LOCAL,
    "mpb_handshake": HANDSHAKE,
}

_REASON = re.compile(r'REASON\((\d+), (\w+), "([^"]+)"\)')


@cache
def reasons() -> dict[int, tuple[str, str]]:
    """Code -> (name, sentence) of every way a packet can end."""
    text = (bpf_dir() / "reasons.h").read_text()
    return {int(code): (name, sentence) for code, name, sentence in _REASON.findall(text)}
