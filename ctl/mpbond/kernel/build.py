"""Compiling the programs: in a child process, as LLVM takes 200 MB to do it.

Run as a module it is that child: it reads {"defines": {...}} from standard
input, compiles and loads with bcc and hands the file descriptors over the socket
whose number is its argument. Nothing of bcc is imported by the controller.
"""

from __future__ import annotations

import array
import json
import socket
import subprocess
import sys
from dataclasses import dataclass

from mpbond import sources
from mpbond.errors import BondError
from mpbond.kernel import headers

PROGRAMS = ("tx", "probe", "rx_tc", "rx_l3", "rx_xdp")
MAPS = (
    "node_map",
    "bonds",
    "bonds_live",
    "weights",
    "slot_bytes",
    "paths",
    "paths_live",
    "path_stats",
    "reasons",
    "prefixes",
    "flows",
    "flow_cache",
    "redundant",
    "limits",
    "copies",
    "sessions",
    "remotes",
    "locals",
    "handshake_next",
    "handshakes",
)
# The kernel's own headers are not clean under -Wextra; ours are, see check-bpf.
CFLAGS = ("-Wall", "-Wno-unused-parameter")
BUILD_TIMEOUT_S = 120


@dataclass(frozen=True, slots=True)
class Built:
    """File descriptors by name; whoever holds this closes them."""

    programs: dict[str, int]
    maps: dict[str, int]


def build(defines: dict[str, int]) -> Built:
    """Compile and load. Raises BondError with the compiler's last words."""
    headers.arrange()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        child = subprocess.Popen(
            [sys.executable, "-m", "mpbond.kernel.build", str(theirs.fileno())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(theirs.fileno(),),
            text=True,
        )
        try:
            output, _ = child.communicate(json.dumps({"defines": defines}), timeout=BUILD_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()
            raise BondError(f"compiling the BPF programs took more than {BUILD_TIMEOUT_S} s") from None
        if child.returncode != 0:
            tail = "\n".join(output.strip().splitlines()[-15:])
            raise BondError(f"compiling the BPF programs failed; `mpbond doctor` may say why:\n{tail}")
        names = PROGRAMS + MAPS
        _, fds, _, _ = socket.recv_fds(ours, 16, len(names))
    return Built(dict(zip(PROGRAMS, fds, strict=False)), dict(zip(MAPS, fds[len(PROGRAMS) :], strict=True)))


def _child(socket_fd: int) -> None:
    from bcc import BPF

    defines = json.load(sys.stdin)["defines"]
    flags = [*CFLAGS, *(f"-D{name}={value}" for name, value in defines.items())]
    bpf = BPF(text=sources.one_text(), cflags=flags)
    kinds = {"rx_xdp": BPF.XDP}
    fds = [bpf.load_func(name, kinds.get(name, BPF.SCHED_CLS)).fd for name in PROGRAMS]
    fds += [bpf[name].map_fd for name in MAPS]
    with socket.socket(fileno=socket_fd) as channel:
        channel.sendmsg([b"fds"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])


if __name__ == "__main__":
    _child(int(sys.argv[1]))
