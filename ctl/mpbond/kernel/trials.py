"""Does the kernel do what a bond asks of it? Tried, as configurations lie.

Everything happens in a child process in a network namespace of its own, on a veth
pair made for it: nothing of the user's is touched and nothing is left. Run as a
module this is that child; it prints a JSON object of trial to error, "" for none.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from mpbond.errors import KernelError
from mpbond.kernel import bpf, tc

_CLONE_NEWNET = 0x40000000
_NEAR, _FAR = "mpb-try0", "mpb-try1"
_TIMEOUT_S = 30
_PROG_LOAD = 5
_SCHED_CLS, _XDP = 3, 6
# r0 = TC_ACT_OK (0), or XDP_PASS (2); exit
_RETURN = "=BBhiBBhi"


def run() -> dict[str, str]:
    """Every trial with its error; "namespace" alone where none could be made."""
    command = [sys.executable, "-m", "mpbond.kernel.trials"]
    try:
        child = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return {"namespace": f"no answer within {_TIMEOUT_S} s"}
    if child.returncode != 0:
        words = child.stderr.strip().splitlines() or [f"exit code {child.returncode}"]
        return {"namespace": words[-1]}
    answer: dict[str, str] = json.loads(child.stdout)
    return answer


def load(kind: int, answer: int) -> int:
    """The smallest program there is; returns its fd. Raises OSError."""
    code = ctypes.create_string_buffer(struct.pack(_RETURN, 0xB7, 0, 0, answer, 0x95, 0, 0, 0))
    licence = ctypes.create_string_buffer(b"MIT")
    attr = struct.pack("=IIQQ", kind, 2, ctypes.addressof(code), ctypes.addressof(licence))
    return bpf._bpf(_PROG_LOAD, attr.ljust(120, b"\0"))


def is_compiled(fd: int) -> bool:
    """Is it machine code? The kernel says how many bytes of it there are."""
    return bool(struct.unpack_from("=I", bpf._info(fd, 232), 16)[0])


def _try(trial: Callable[[], object]) -> str:
    try:
        trial()
    except NetlinkError as error:
        return _reason(error.code)
    except KernelError as error:
        return _reason(error.errno)
    except OSError as error:
        return _reason(error.errno) if error.errno else str(error)
    return ""


def _reason(code: int) -> str:
    """Of a kind of interface or qdisc it has not, the kernel says that no file is there."""
    return "not in this kernel" if code in (errno.ENOENT, errno.EOPNOTSUPP) else os.strerror(code)


def _jit() -> None:
    fd = load(_SCHED_CLS, 0)
    compiled = is_compiled(fd)
    os.close(fd)
    if not compiled:
        raise OSError("programs are interpreted")


def _unshare() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _trials(ipr: IPRoute) -> dict[str, str]:
    results = {"veth": _try(lambda: ipr.link("add", ifname=_NEAR, kind="veth", peer=_FAR))}
    results["bpf"] = _try(lambda: os.close(load(_SCHED_CLS, 0)))
    results["jit"] = _try(_jit)
    results["wireguard"] = _try(lambda: ipr.link("add", ifname="mpb-trywg", kind="wireguard"))
    if results["veth"]:
        return results
    near = ipr.link_lookup(ifname=_NEAR)[0]
    results["clsact"] = _try(lambda: tc.ensure_clsact(ipr, near))
    results["cls_bpf"] = _try(lambda: tc.attach(ipr, near, tc.INGRESS, 1, load(_SCHED_CLS, 0), "try"))
    results["xdp"] = _try(lambda: tc.attach_xdp(ipr, near, load(_XDP, 2)))
    for kind in ("fq", "netem"):
        results[kind] = _try(lambda kind=kind: ipr.tc("replace", kind, near, 0x10000))  # type: ignore[misc]
    return results


def _main() -> None:
    problem = _try(_unshare)
    if problem:
        results = {"namespace": problem}
    else:
        with IPRoute() as ipr:
            results = {"namespace": ""} | _trials(ipr)
    print(json.dumps(results))


if __name__ == "__main__":
    _main()
