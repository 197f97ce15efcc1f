"""Kernel headers for bcc: where they are, and making do with another version's.

bcc looks in /lib/modules/RELEASE/{build,source}. Where the running kernel has
none, those of another one serve as well: the programs use UAPI and a few network
headers only, and talk to the kernel through helpers, not through its structs.
Run as a module this arranges them and says what it did.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from mpbond.errors import BondError

MODULES = Path("/lib/modules")
KHEADERS = Path("/sys/kernel/kheaders.tar.xz")
# bcc's own variable: who sets it has said where the headers are.
ENVIRONMENT = "BCC_KERNEL_SOURCE"
_LINKS = ("build", "source")
_DEBIAN_ARCH = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "armmp", "i686": "686"}


class Kind(Enum):
    PRESENT = "present"
    LINK = "link"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do about headers. `donor` is the release to link to, for LINK."""

    kind: Kind
    message: str
    donor: str = ""


def package(machine: str) -> str:
    """The Debian package that brings headers."""
    return f"linux-headers-{_DEBIAN_ARCH.get(machine, machine)}"


def _version(release: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", release))


def decide(release: str, machine: str, complete: Mapping[str, bool], elsewhere: str = "") -> Decision:
    """What to do, given which releases in /lib/modules have complete headers.

    `elsewhere` names another place from which bcc takes them ("" for none).
    """
    if complete.get(release):
        return Decision(Kind.PRESENT, f"kernel headers: in {MODULES}/{release}")
    if elsewhere:
        return Decision(Kind.PRESENT, f"kernel headers: from {elsewhere}")
    donors = sorted((name for name, is_complete in complete.items() if is_complete), key=_version)
    if donors:
        message = f"kernel headers: {release} has none of its own, those of {donors[-1]} are linked in"
        return Decision(Kind.LINK, message, donors[-1])
    message = (
        f"no kernel headers for {release}, and none of another version to use instead: "
        f"`apt install {package(machine)}` (any recent version will do)"
    )
    return Decision(Kind.MISSING, message)


def _is_complete(folder: Path) -> bool:
    """Has it what bcc includes first? Debian splits headers in two, others do not."""
    generated = folder / "build/include/generated/autoconf.h"
    common = [folder / link / "include/linux/kconfig.h" for link in _LINKS]
    return generated.exists() and any(file.exists() for file in common)


def _complete(modules: Path) -> dict[str, bool]:
    """Every release by name; a dangling link is one without headers."""
    if not modules.is_dir():
        return {}
    return {folder.name: _is_complete(folder) for folder in modules.iterdir()}


def _elsewhere() -> str:
    stated = os.environ.get(ENVIRONMENT, "")
    if stated and Path(stated).is_dir():
        return f"{ENVIRONMENT}={stated}"
    return str(KHEADERS) if KHEADERS.exists() else ""


def find() -> Decision:
    """What `arrange` would do; does nothing."""
    return decide(platform.release(), platform.machine(), _complete(MODULES), _elsewhere())


def arrange() -> str:
    """Sees to it that bcc finds headers; returns what was done, "" for nothing."""
    decision = find()
    if decision.kind is Kind.MISSING:
        raise BondError(decision.message)
    if decision.kind is Kind.PRESENT:
        return ""
    _link(MODULES, platform.release(), decision.donor)
    return decision.message


def _link(modules: Path, release: str, donor: str) -> None:
    """Links `build` and `source` one by one: a link to the whole folder would offer
    modprobe another kernel's modules, and give a package installed later the
    donor's folder to write into.
    """
    folder = modules / release
    try:
        if folder.is_symlink() and not folder.exists():
            folder.unlink()
        folder.mkdir(exist_ok=True)
        for name in _LINKS:
            if (modules / donor / name).exists():
                _replace_link(folder / name, (modules / donor / name).resolve())
    except OSError as error:
        raise BondError(
            f"kernel headers: cannot link those of {donor} into {folder}: {error.strerror}; "
            "run `mpbond up` once as root, or install headers of the running kernel"
        ) from error


def _replace_link(link: Path, target: Path) -> None:
    """In one step: another controller may be compiling at this moment."""
    fresh = link.with_name(f".{link.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.replace(link)


def _main() -> int:
    try:
        print(arrange() or find().message)
    except BondError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(_main())
