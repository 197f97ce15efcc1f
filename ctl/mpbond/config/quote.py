"""Text of a file shown in a message: on one line, printable, not too long."""

from __future__ import annotations

import re
from collections.abc import Iterable

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]{1,64}")
_BARE_VALUE = re.compile(r"[A-Za-z0-9_.:/+-]{1,48}")


def printable(text: str, limit: int) -> str:
    """Cut to `limit` characters, with whatever does not print escaped."""
    shown = text if len(text) <= limit else text[:limit] + "..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)


def quote(text: str, limit: int = 48) -> str:
    """In double quotes, so that spaces, quotes and escapes show for what they are."""
    return '"' + printable(text.replace("\\", r"\\").replace('"', r"\""), limit) + '"'


def bare(text: str) -> str:
    """As in the file where that is unmistakable, else quoted."""
    return text if _BARE_VALUE.fullmatch(text) else quote(text)


def join(path: str, key: str) -> str:
    """The dotted path of `key` under `path`; a key with dots in it is quoted."""
    shown = key if _BARE_KEY.fullmatch(key) else quote(key)
    return f"{path}.{shown}" if path else shown


def listing(names: Iterable[str], limit: int = 20) -> str:
    """Names as they may be written; they may be the user's own, and many."""
    shown = [bare(name) for name in names]
    more = [f"{len(shown) - limit} more"] if len(shown) > limit else []
    return ", ".join(shown[:limit] + more) or "none"
