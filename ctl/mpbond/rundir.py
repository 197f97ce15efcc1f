"""Files of a running controller: where they are, and who holds them.

One folder per host, `/run/mpbond` unless --run-dir or MPBOND_RUN_DIR says other:
two hosts on one machine differ by network namespace and run dir alone.
"""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path

from mpbond.errors import BondError

DEFAULT = "/run/mpbond"
ENVIRONMENT = "MPBOND_RUN_DIR"
DEFAULT_STATE = "/var/lib/mpbond"
STATE_ENVIRONMENT = "MPBOND_STATE_DIR"


@dataclass(frozen=True, slots=True)
class RunDir:
    path: Path

    def socket(self, interface: str) -> Path:
        return self.path / f"{interface}.sock"

    def lock_file(self, interface: str) -> Path:
        return self.path / f"{interface}.pid"

    def log(self, interface: str) -> Path:
        return self.path / f"{interface}.log"

    def make(self) -> None:
        """For root alone: whoever may write here may stop the bond."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def interfaces(self) -> list[str]:
        """Those with a controller's files, alive or not."""
        return sorted(file.stem for file in self.path.glob("*.pid")) if self.path.is_dir() else []

    def owner(self, interface: str) -> int | None:
        """The living controller's pid."""
        try:
            file = self.lock_file(interface).open()
        except FileNotFoundError:
            return None
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                # From the file that is open: one that is ending has unlinked it already.
                return int(file.read() or 0)
            return None

    def remove(self, interface: str) -> None:
        for file in (self.socket(interface), self.lock_file(interface)):
            file.unlink(missing_ok=True)


def from_option(option: str | None) -> RunDir:
    return RunDir(Path(option or os.environ.get(ENVIRONMENT) or DEFAULT))


def state_dir(option: str | None, run_dir: RunDir) -> Path:
    """Where what outlives the host is kept; beside a run dir that is not the usual one,
    unless it is said where."""
    said = option or os.environ.get(STATE_ENVIRONMENT)
    if said:
        return Path(said)
    return Path(DEFAULT_STATE) if run_dir.path == Path(DEFAULT) else run_dir.path / "state"


class Lock:
    """Held by the one controller of an interface; the kernel lets go if it dies."""

    def __init__(self, run_dir: RunDir, interface: str) -> None:
        run_dir.make()
        path = run_dir.lock_file(interface)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = path.read_text().strip() or "?"
            os.close(self._fd)
            raise BondError(
                f"{interface} has a controller already (pid {pid}); `mpbond down {interface}` stops it"
            ) from None
        os.ftruncate(self._fd, 0)
        os.write(self._fd, str(os.getpid()).encode())

    def release(self) -> None:
        os.close(self._fd)
