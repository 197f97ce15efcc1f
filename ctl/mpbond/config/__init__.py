"""The configuration file: `load_file` and `load_text` give a checked `Config`."""

from __future__ import annotations

from pathlib import Path

from mpbond.config.model import Config
from mpbond.config.nodes import MAX_BYTES
from mpbond.config.validate import read
from mpbond.errors import ConfigError, Problem

__all__ = ["load_file", "load_text"]

_READABLE = "a readable YAML file"
_SMALL = f"at most {MAX_BYTES} bytes"


def load_file(path: str | Path) -> Config:
    """Raises `ConfigError` with every problem; line 0 where the file itself is the problem."""
    file = str(path)
    try:
        with Path(path).open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise _refused(file, "no such file", _READABLE) from None
    except IsADirectoryError:
        raise _refused(file, "a directory", _READABLE) from None
    except OSError as error:
        raise _refused(file, f"an unreadable file ({error.strerror})", _READABLE) from None
    except ValueError:
        raise _refused(file, "an impossible path", _READABLE) from None
    return load_bytes(data, file)


def load_bytes(data: bytes, file: str) -> Config:
    if len(data) > MAX_BYTES:
        raise _refused(file, "a larger file", _SMALL)
    try:
        # A byte order mark is harmless and some editors write one.
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _refused(file, f"the byte 0x{data[error.start]:02x}", "UTF-8 text", line) from None
    return read(text, file)


def load_text(text: str, file: str = "<text>") -> Config:
    """As `load_file`; relative paths in it are taken from the folder of `file`."""
    if len(text) > MAX_BYTES:
        raise _refused(file, "a longer text", _SMALL)
    return read(text, file)


def _refused(file: str, found: str, wanted: str, line: int = 0) -> ConfigError:
    return ConfigError(file, (Problem(line, "", found, wanted),))
