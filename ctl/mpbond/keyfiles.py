"""Key files: written for their owner alone, read, and private ones checked for that."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from mpbond.errors import BondError, UsageError
from mpbond.sessions import parse_key


def write(file: Path, text: str, *, force: bool) -> None:
    """Makes `file` with mode 0600. Replaces one that is there only by `force`."""
    flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if force else os.O_EXCL)
    try:
        fd = os.open(file, flags, 0o600)
    except FileExistsError:
        raise UsageError(f"{file} exists; --force replaces it, and cuts off whoever uses it") from None
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from error
    with os.fdopen(fd, "w") as out:
        os.fchmod(fd, 0o600)
        out.write(text)


def read_shared(file: str) -> bytes:
    """A key shared with a peer, 32 bytes. Its mode is its owner's business."""
    return _read(file, "key file", "`mpbond keygen` makes one", private=False)


def read_private(file: str) -> bytes:
    """A node's private key, 32 bytes. Refused where others than its owner may read it."""
    return _read(file, "private key file", "`mpbond keygen --private` makes one", private=True)


def _read(file: str, what: str, advice: str, *, private: bool) -> bytes:
    try:
        with Path(file).open(encoding="utf-8", errors="replace") as stream:
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
            text = stream.read(1 << 16)
    except OSError as error:
        raise BondError(f"{what} {file}: {error.strerror}; {advice}") from error
    if private and mode & 0o077:
        raise BondError(f"{what} {file}: found mode {mode:04o}, wanted 0600; chmod 600 {file}")
    try:
        return parse_key(text)
    except ValueError as error:
        raise BondError(
            f"{what} {file}: found {error}, wanted 32 bytes as base64 or hex; {advice}"
        ) from error
