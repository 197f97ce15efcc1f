"""`mpbond doctor`: what each check makes of what it reads."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from mpbond import doctor
from mpbond.cli import doctor as command
from mpbond.doctor import Finding
from mpbond.kernel.headers import Decision, Kind
from mpbond.rundir import RunDir

NET_ADMIN, SYS_ADMIN, BPF = 1 << 12, 1 << 21, 1 << 39
WORKING = dict.fromkeys(
    ("namespace", "veth", "bpf", "jit", "clsact", "cls_bpf", "xdp", "fq", "netem", "wireguard"), ""
)


@pytest.mark.parametrize(
    ("uid", "capabilities", "level", "found"),
    [
        pytest.param(0, NET_ADMIN | BPF, "ok", "root", id="root"),
        pytest.param(0, NET_ADMIN | SYS_ADMIN, "ok", "root", id="SYS_ADMIN implies BPF"),
        pytest.param(0, BPF, "fail", "root without CAP_NET_ADMIN", id="container"),
        pytest.param(0, 0, "fail", "root without CAP_NET_ADMIN and CAP_BPF", id="strict container"),
        pytest.param(1000, NET_ADMIN | BPF, "fail", "user 1000, not root", id="user"),
    ],
)
def test_privileges(uid: int, capabilities: int, level: str, found: str) -> None:
    finding = doctor.check_privileges(uid, capabilities)
    assert (finding.level, finding.found) == (level, found)


@pytest.mark.parametrize(
    ("release", "level"),
    [
        ("6.1.0-56-amd64", "ok"),
        ("6.18.44", "ok"),
        ("10.0", "ok"),
        ("6.0.19", "fail"),
        ("5.15.0-91-generic", "fail"),
        ("strange", "fail"),
    ],
)
def test_kernel(release: str, level: str) -> None:
    assert doctor.check_kernel(release).level == level


@pytest.mark.parametrize("trial", ["veth", "bpf", "clsact", "cls_bpf"])
def test_a_bond_needs(trial: str) -> None:
    findings = doctor.check_trials(WORKING | {trial: "not in this kernel"})
    assert [(finding.name, finding.level) for finding in findings if finding.level != "ok"] == [
        (trial, "fail")
    ]


@pytest.mark.parametrize("trial", ["jit", "xdp", "fq", "netem", "wireguard"])
def test_a_bond_does_without(trial: str) -> None:
    findings = tuple(doctor.check_trials(WORKING | {trial: "not in this kernel"}))
    assert [(finding.name, finding.level) for finding in findings if finding.level != "ok"] == [
        (trial, "warn")
    ]
    assert not doctor.cannot_run(findings)


def test_without_veth_what_hangs_on_it_was_not_tried() -> None:
    findings = doctor.check_trials({"namespace": "", "veth": "not in this kernel", "bpf": "", "jit": ""})
    untried = {finding.name for finding in findings if finding.found.startswith("not tried")}
    assert untried == {"clsact", "cls_bpf", "xdp", "fq", "netem", "wireguard"}


def test_without_a_namespace_nothing_is_claimed() -> None:
    (finding,) = doctor.check_trials({"namespace": "Operation not permitted"})
    assert (finding.level, finding.found) == ("warn", "Operation not permitted")


@pytest.mark.parametrize(
    ("decision", "level", "advice"),
    [
        (Decision(Kind.PRESENT, "kernel headers: in /lib/modules/6.1"), "ok", ""),
        (Decision(Kind.LINK, "kernel headers: 6.18 has none", "6.1"), "ok", ""),
        (Decision(Kind.MISSING, "no kernel headers for 6.18: `apt install x`"), "fail", "`apt install x`"),
    ],
)
def test_headers(decision: Decision, level: str, advice: str) -> None:
    finding = doctor.check_headers(decision)
    assert (finding.level, finding.advice) == (level, advice)


def fake_python(tmp_path: Path, script: str) -> str:
    """A python that does what `script` says whatever it is given."""
    file = tmp_path / "python"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return str(file)


def test_bcc_missing(tmp_path: Path) -> None:
    words = "ModuleNotFoundError: No module named 'bcc'"
    finding = doctor.check_bcc(fake_python(tmp_path, f'echo "{words}" >&2; exit 1'))
    assert (finding.level, finding.found) == ("fail", words)
    assert "apt install python3-bpfcc" in finding.advice
    assert "--system-site-packages" in finding.advice


def test_the_other_bcc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What pip calls bcc can be imported, and has no BPF."""
    (tmp_path / "bcc.py").write_text("__version__ = '1.0'\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    finding = doctor.check_bcc(sys.executable)
    assert finding.level == "fail"
    assert "has no attribute 'BPF'" in finding.found


@pytest.mark.parametrize(
    ("meminfo", "level"),
    [
        ("MemTotal: 9 kB\nMemAvailable:   4096000 kB\n", "ok"),
        ("MemTotal: 9999999 kB\nMemAvailable:    102400 kB\n", "warn"),
        ("", "warn"),
    ],
)
def test_memory(meminfo: str, level: str) -> None:
    assert doctor.check_memory(meminfo).level == level


def test_tools_are_for_the_lab_alone() -> None:
    finding = doctor.check_tools({"ip": False, "tc": False, "ping": True, "iperf3": False})
    assert finding.level == "warn"
    assert finding.found == "no ip, tc, iperf3"
    assert "apt install iproute2 iperf3" in finding.advice


@pytest.mark.parametrize(
    ("driver", "virtual", "found"),
    [
        ("virtio_net", False, "virtio_net: native XDP"),
        ("r8169", False, "r8169: tc ingress, as this driver has no native XDP"),
        ("", False, "unknown driver: tc ingress, as this driver has no native XDP"),
        ("veth", True, "veth: tc ingress, as on every virtual link; XDP with `rx: xdp`"),
        ("bridge", True, "bridge: tc ingress, as on every virtual link"),
    ],
)
def test_link(driver: str, virtual: bool, found: str) -> None:
    finding = doctor.check_link("eth0", driver, virtual)
    assert (finding.name, finding.level, finding.found) == ("link eth0", "ok", found)


def text_of(findings: tuple[Finding, ...]) -> str:
    console = Console(width=80, color_system=None, _environ={})
    with console.capture() as capture:
        console.print(doctor.render(findings))
    return capture.get()


def test_render_fits_80_columns_and_says_everything() -> None:
    findings = (
        Finding("kernel", "ok", "6.18"),
        Finding("link enp123s0f1np[1]", "ok", "x" * 70),
        doctor.check_leftover("mp0"),
        Finding("bcc", "fail", "none", "install it"),
    )
    text = text_of(findings)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    assert "enp123s0f1np[1]" in text
    assert "mpbond down mp0" in " ".join(text.split())
    assert text.rstrip().endswith("This host cannot run a bond: bcc.")
    assert text_of(findings[:3]).rstrip().endswith("This host can run a bond.")


def run_command(
    findings: tuple[Finding, ...], monkeypatch: pytest.MonkeyPatch, *args: str
) -> tuple[int, str]:
    monkeypatch.setattr(command.checks, "run_checks", lambda run_dir: findings)
    app = typer.Typer()
    app.command()(command.doctor)
    result = CliRunner().invoke(app, args)
    return result.exit_code, result.stdout


@pytest.mark.parametrize(("level", "code"), [("ok", 0), ("warn", 0), ("fail", 1)])
def test_exit_code_and_json(level: doctor.Level, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    exit_code, text = run_command((Finding("x", level, "y", "z"),), monkeypatch, "--json")
    assert exit_code == code
    assert json.loads(text) == [{"name": "x", "level": level, "found": "y", "advice": "z"}]


@pytest.mark.root
@pytest.mark.netns
def test_this_host(tmp_path: Path) -> None:
    """Where the tests in the kernel run, doctor says that a bond can run."""
    before = sorted(entry.name for entry in Path("/sys/class/net").iterdir())
    findings = doctor.run_checks(RunDir(tmp_path))
    assert not doctor.cannot_run(findings), findings
    assert {"clsact", "cls_bpf", "headers", "bcc"} <= {finding.name for finding in findings}
    assert all(finding.advice for finding in findings if finding.level != "ok")
    assert sorted(entry.name for entry in Path("/sys/class/net").iterdir()) == before
