"""Finding kernel headers, and linking another version's where there are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from mpbond.errors import BondError
from mpbond.kernel import headers
from mpbond.kernel.headers import Kind

RUNNING = "6.18.1-custom"


@pytest.mark.parametrize(
    ("complete", "elsewhere", "kind", "donor"),
    [
        pytest.param({RUNNING: True}, "", Kind.PRESENT, "", id="its own"),
        pytest.param({RUNNING: True, "6.20.0": True}, "", Kind.PRESENT, "", id="its own before newer ones"),
        pytest.param({}, "/sys/kernel/kheaders.tar.xz", Kind.PRESENT, "", id="kheaders"),
        pytest.param({"6.1.0-9-amd64": True}, "", Kind.LINK, "6.1.0-9-amd64", id="another version's"),
        pytest.param(
            {"6.1.0-9-amd64": True, "6.1.0-56-amd64": True},
            "",
            Kind.LINK,
            "6.1.0-56-amd64",
            id="newest by number, not by letter",
        ),
        pytest.param(
            {"6.1.0-9-amd64": True, "6.12.0-1-amd64": False},
            "",
            Kind.LINK,
            "6.1.0-9-amd64",
            id="not those of a kernel without headers",
        ),
        pytest.param(
            {RUNNING: False, "6.1.0-9-amd64": True}, "", Kind.LINK, "6.1.0-9-amd64", id="modules only"
        ),
        pytest.param({}, "", Kind.MISSING, "", id="nothing installed"),
        pytest.param({RUNNING: False}, "", Kind.MISSING, "", id="modules only and nothing else"),
    ],
)
def test_decision(complete: dict[str, bool], elsewhere: str, kind: Kind, donor: str) -> None:
    decision = headers.decide(RUNNING, "x86_64", complete, elsewhere)
    assert (decision.kind, decision.donor) == (kind, donor)


@pytest.mark.parametrize(
    ("machine", "package"), [("x86_64", "linux-headers-amd64"), ("aarch64", "linux-headers-arm64")]
)
def test_missing_names_the_package(machine: str, package: str) -> None:
    assert f"`apt install {package}`" in headers.decide(RUNNING, machine, {}).message


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty /lib/modules of a host that runs RUNNING and has no kheaders."""
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.setattr(headers, "MODULES", folder)
    monkeypatch.setattr(headers, "KHEADERS", tmp_path / "no-kheaders")
    monkeypatch.setattr(headers.platform, "release", lambda: RUNNING)
    monkeypatch.delenv(headers.ENVIRONMENT, raising=False)
    return folder


def install(modules: Path, release: str) -> Path:
    """Headers as Debian splits them."""
    build, source = (modules.parent / f"linux-headers-{release}-{part}" for part in ("amd64", "common"))
    for file in (build / "include/generated/autoconf.h", source / "include/linux/kconfig.h"):
        file.parent.mkdir(parents=True)
        file.touch()
    folder = modules / release
    folder.mkdir()
    (folder / "build").symlink_to(build)
    (folder / "source").symlink_to(source)
    return folder


def test_links_once_and_says_so(modules: Path) -> None:
    donor = install(modules, "6.1.0-56-amd64")
    assert "those of 6.1.0-56-amd64 are linked in" in headers.arrange()
    assert (modules / RUNNING / "build").resolve() == (donor / "build").resolve()
    assert (modules / RUNNING / "source").resolve() == (donor / "source").resolve()
    assert headers.arrange() == ""
    assert headers.find().kind is Kind.PRESENT
    assert sorted(entry.name for entry in (modules / RUNNING).iterdir()) == ["build", "source"]


def test_folder_linked_by_hand_is_fine(modules: Path) -> None:
    (modules / RUNNING).symlink_to(install(modules, "6.1.0-56-amd64"))
    assert headers.arrange() == ""


def test_follows_an_upgrade_of_the_headers(modules: Path) -> None:
    """apt removed the version that was linked and installed another one."""
    old = install(modules, "6.1.0-9-amd64")
    headers.arrange()
    (old / "build").resolve().rename(modules.parent / "gone")
    new = install(modules, "6.1.0-56-amd64")
    assert "6.1.0-56-amd64" in headers.arrange()
    assert (modules / RUNNING / "build").resolve() == (new / "build").resolve()


def test_replaces_a_dangling_link_to_a_folder(modules: Path) -> None:
    (modules / RUNNING).symlink_to(modules / "removed")
    install(modules, "6.1.0-56-amd64")
    headers.arrange()
    assert not (modules / RUNNING).is_symlink()
    assert headers.find().kind is Kind.PRESENT


def test_keeps_the_modules_of_a_kernel_without_headers(modules: Path) -> None:
    module = modules / RUNNING / "kernel" / "wireguard.ko"
    module.parent.mkdir(parents=True)
    module.touch()
    install(modules, "6.1.0-56-amd64")
    headers.arrange()
    assert module.exists()


def test_headers_that_are_not_split(modules: Path) -> None:
    for name in ("generated/autoconf.h", "linux/kconfig.h"):
        file = modules / RUNNING / "build" / "include" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    assert headers.find().kind is Kind.PRESENT


def test_find_does_nothing(modules: Path) -> None:
    install(modules, "6.1.0-56-amd64")
    assert headers.find().kind is Kind.LINK
    assert not (modules / RUNNING).exists()


def test_nothing_to_arrange_from(modules: Path) -> None:
    with pytest.raises(BondError, match="apt install linux-headers-"):
        headers.arrange()


def test_a_folder_that_cannot_be_written(modules: Path) -> None:
    install(modules, "6.1.0-56-amd64")
    (modules / RUNNING).write_text("a file where the folder should be")
    with pytest.raises(BondError, match="cannot link those of 6"):
        headers.arrange()


def test_the_users_own_place(modules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(headers.ENVIRONMENT, str(tmp_path))
    assert headers.arrange() == ""
    monkeypatch.setenv(headers.ENVIRONMENT, str(tmp_path / "typo"))
    assert headers.find().kind is Kind.MISSING
