"""Can this host run a bond, and if not, what to do about it.

Each check looks at one thing and returns what it found with a sentence of advice.
Readings come in as arguments where a test wants to choose them. Nothing of the
user's is touched: what has to be tried is tried in a namespace made for it.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pyroute2 import IPRoute
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mpbond.kernel import ethtool, headers, registry, trials
from mpbond.rundir import RunDir
from mpbond.uplinks import far_name

Level = Literal["ok", "warn", "fail"]

KERNEL_FLOOR = (6, 1)
# LLVM takes about 200 MB to compile the programs; the rest is for everyone else.
MEMORY_WANTED_MB = 400
_CAP_NET_ADMIN, _CAP_SYS_ADMIN, _CAP_BPF = 12, 21, 39
_BCC_TIMEOUT_S = 60
_IFF_UP = 1
_BTF = Path("/sys/kernel/btf/vmlinux")

# Names that ethtool gives for drivers with native XDP. One that is missing costs
# nothing but this line's accuracy, as `rx: auto` tries and falls back to tc.
NATIVE_XDP = frozenset(
    {
        *("atlantic", "bnxt_en", "bonding", "ena", "fsl_dpaa2_eth", "fsl_enetc", "gve", "hv_netvsc", "i40e"),
        *("ice", "igb", "igc", "ixgbe", "ixgbevf", "mana", "mlx4_en", "mlx5_core", "mvneta", "mvpp2", "nfp"),
        *("qede", "sfc", "st_gmac", "tun", "veth", "vif", "virtio_net", "vmxnet3"),
    }
)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check saw. `advice` is empty where all is well."""

    name: str
    level: Level
    found: str
    advice: str = ""


def check_privileges(uid: int, capabilities: int) -> Finding:
    if uid != 0:
        advice = "run it as root: a bond makes interfaces and loads BPF programs"
        return Finding("privileges", "fail", f"user {uid}, not root", advice)
    missing = []
    if not capabilities >> _CAP_NET_ADMIN & 1:
        missing.append("CAP_NET_ADMIN")
    if not (capabilities >> _CAP_BPF | capabilities >> _CAP_SYS_ADMIN) & 1:
        missing.append("CAP_BPF")
    if missing:
        advice = "a container took them from root: start it with --cap-add for each"
        return Finding("privileges", "fail", f"root without {' and '.join(missing)}", advice)
    return Finding("privileges", "ok", "root")


def check_kernel(release: str) -> Finding:
    numbers = re.match(r"(\d+)\.(\d+)", release)
    if numbers and (int(numbers[1]), int(numbers[2])) >= KERNEL_FLOOR:
        return Finding("kernel", "ok", release)
    floor = ".".join(map(str, KERNEL_FLOOR))
    return Finding(
        "kernel", "fail", release, f"Linux {floor} or later is needed: Debian 12's, or a newer one"
    )


# Trial -> what it is for, and the advice where it fails. Each of these must work.
_NEEDED = {
    "bpf": ("loads programs", "a kernel with CONFIG_BPF_SYSCALL; in a container, one allowed to call bpf(2)"),
    "veth": ("makes pairs", "a kernel with CONFIG_VETH: the bond's own interface is one end of a pair"),
    "clsact": ("can be added", "a kernel with CONFIG_NET_CLS_ACT and CONFIG_NET_SCH_INGRESS"),
    "cls_bpf": ("takes programs", "a kernel with CONFIG_NET_CLS_BPF: packets are taken and sent there"),
}
# Trial -> who needs it. A bond runs without any of these.
_OPTIONAL = {
    "jit": "programs would be slow: `sysctl -w net.core.bpf_jit_enable=1`, or a kernel with CONFIG_BPF_JIT",
    "xdp": "not needed: packets are taken at tc ingress, which is somewhat slower on fast NICs",
    "fq": "not needed unless a policy sets `alignDelay` (CONFIG_NET_SCH_FQ)",
    "netem": "not needed unless a lab is to have delay, jitter or loss (CONFIG_NET_SCH_NETEM)",
    "wireguard": "not needed unless the bond is to be encrypted with WireGuard (CONFIG_WIREGUARD)",
}


def check_trials(results: Mapping[str, str]) -> list[Finding]:
    """What came of trying, see kernel/trials.py."""
    if results.get("namespace"):
        advice = "it could not be tried whether this kernel has what a bond needs; `mpbond up` will tell"
        return [Finding("kernel features", "warn", results["namespace"], advice)]
    findings = []
    for name, (works, advice) in _NEEDED.items():
        error = results.get(name, "not tried, as veth is missing")
        findings.append(Finding(name, "fail", error, advice) if error else Finding(name, "ok", works))
    for name, advice in _OPTIONAL.items():
        error = results.get(name, "not tried, as veth is missing")
        findings.append(Finding(name, "warn", error, advice) if error else Finding(name, "ok", "works"))
    return findings


def check_btf(present: bool) -> Finding:
    if present:
        return Finding("btf", "ok", str(_BTF))
    advice = "not needed: programs are compiled against kernel headers. bpftool shows less without"
    return Finding("btf", "warn", "none", advice)


def check_headers(decision: headers.Decision) -> Finding:
    found = decision.message.removeprefix("kernel headers: ")
    if decision.kind is headers.Kind.PRESENT:
        return Finding("headers", "ok", found)
    if decision.kind is headers.Kind.LINK:
        return Finding(
            "headers", "ok", f"those of {decision.donor} will be linked in by the first `mpbond up`"
        )
    what, _, advice = found.partition(": ")
    return Finding("headers", "fail", what, advice)


def check_bcc(python: str = sys.executable) -> Finding:
    """In a process of its own: importing it maps 100 MB of LLVM."""
    code = "import bcc; bcc.BPF; print(bcc.__version__)"
    child = subprocess.run(
        [python, "-c", code], check=False, capture_output=True, text=True, timeout=_BCC_TIMEOUT_S
    )
    if child.returncode == 0:
        return Finding("bcc", "ok", child.stdout.strip())
    words = child.stderr.strip().splitlines() or ["cannot be imported"]
    advice = (
        "`apt install python3-bpfcc`, and a venv over the system's Python made with --system-site-packages "
        "(`make setup` does both); what pip calls bcc is something else"
    )
    return Finding("bcc", "fail", words[-1], advice)


def check_memory(meminfo: str) -> Finding:
    available = re.search(r"^MemAvailable:\s+(\d+) kB", meminfo, re.MULTILINE)
    free_mb = int(available[1]) // 1024 if available else 0
    found = f"{free_mb} MB available"
    if free_mb >= MEMORY_WANTED_MB:
        return Finding("memory", "ok", found)
    advice = f"`mpbond up` takes 200 MB for a moment, to compile: have {MEMORY_WANTED_MB} MB, or swap"
    return Finding("memory", "warn", found, advice)


def check_tools(present: Mapping[str, bool]) -> Finding:
    missing = [tool for tool, is_there in present.items() if not is_there]
    if not missing:
        return Finding("lab tools", "ok", ", ".join(present))
    packages = {"ping": "iputils-ping", "ip": "iproute2", "tc": "iproute2"}
    names = " ".join(dict.fromkeys(packages.get(tool, tool) for tool in missing))
    advice = f"not needed unless you use `mpbond lab`: `apt install {names}`"
    return Finding("lab tools", "warn", f"no {', '.join(missing)}", advice)


def check_link(ifname: str, driver: str, virtual: bool) -> Finding:
    """By the driver's name: nothing is attached to an interface in use."""
    way = "native XDP" if driver in NATIVE_XDP else "tc ingress, as this driver has no native XDP"
    if virtual:
        way = "tc ingress, as on every virtual link" + (
            "; XDP with `rx: xdp`" if driver in NATIVE_XDP else ""
        )
    return Finding(f"link {ifname}", "ok", f"{driver or 'unknown driver'}: {way}")


def check_leftover(name: str) -> Finding:
    advice = (
        "its controller died, or has another run dir: `mpbond up FILE` adopts it, "
        f"`mpbond down {name}` removes it"
    )
    return Finding(f"bond {name}", "warn", "is in the kernel without a controller", advice)


def _link_findings(ipr: IPRoute, bonds: list[str]) -> list[Finding]:
    """Every link that is up, but for loopback and the bonds' own."""
    own = {"lo", *bonds, *(far_name(name) for name in bonds)}
    findings = []
    for link in ipr.get_links():
        name = link.get_attr("IFLA_IFNAME")
        if link["flags"] & _IFF_UP and name not in own:
            is_virtual = link.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND") is not None
            findings.append(check_link(name, ethtool.driver(name), is_virtual))
    return findings


def _effective_capabilities() -> int:
    found = re.search(r"^CapEff:\s+([0-9a-f]+)", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(found[1], 16) if found else 0


def run_checks(run_dir: RunDir) -> tuple[Finding, ...]:
    """All checks, in the order in which one would mend what they find."""
    findings = [
        check_privileges(os.geteuid(), _effective_capabilities()),
        check_kernel(platform.release()),
        *check_trials(trials.run()),
        check_btf(_BTF.exists()),
        check_headers(headers.find()),
        check_bcc(),
        check_memory(Path("/proc/meminfo").read_text()),
        check_tools({tool: shutil.which(tool) is not None for tool in ("ip", "tc", "ping", "iperf3")}),
    ]
    with IPRoute() as ipr:
        bonds = registry.bonds(ipr)
        findings += _link_findings(ipr, bonds)
    return (*findings, *(check_leftover(name) for name in bonds if run_dir.owner(name) is None))


def cannot_run(findings: tuple[Finding, ...]) -> bool:
    """Is anything wrong that no bond can do without?"""
    return any(finding.level == "fail" for finding in findings)


_STYLE = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def render(findings: tuple[Finding, ...]) -> RenderableType:
    """For people: 80 columns, advice below what it is about."""
    table = Table.grid(padding=(0, 2))
    table.width = 80
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(ratio=1, overflow="fold")
    for finding in findings:
        said = Text(finding.found)
        if finding.advice:
            said.append(f"\n{finding.advice}", style="dim")
        table.add_row(Text(finding.level, style=_STYLE[finding.level]), Text(finding.name), said)
    failed = [finding.name for finding in findings if finding.level == "fail"]
    if failed:
        return Group(table, Text(f"\nThis host cannot run a bond: {', '.join(failed)}.", style="red"))
    return Group(table, Text("\nThis host can run a bond.", style="green"))
