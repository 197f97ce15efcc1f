"""Configuration files of a pair of hosts from one file: host b's is host a's with
the two hosts exchanged. Comments stay, so that both can be shown and read.
"""

from __future__ import annotations

import re
from pathlib import Path

# Every word in which the files of the lab's hosts a and b differ.
_PAIRS = (
    ("00000000aa", "00000000bb"),
    ("10.99.0.1", "10.99.0.2"),
    ("fd99::1", "fd99::2"),
    ("host-a", "host-b"),
    ("Host a", "Host b"),
)
_OTHER = {word: other for pair in _PAIRS for word, other in (pair, pair[::-1])}
# The end of an address on a link: 10.77.N.1 or .2, fd77:N::1 or ::2.
_END = r"(?P<link>10\.77\.\d+\.|fd77:\d+::)(?P<end>[12])(?!\w)"
_NAMED = "|".join(map(re.escape, _OTHER))
_WORD = re.compile(rf"(?<![\w.])(?:(?:{_NAMED})(?!\w)|{_END})")


def policies_dir() -> Path:
    """The folder of the examples: beside ctl/ in a checkout, inside an installed package."""
    package = Path(__file__).resolve().parent.parent
    for candidate in (package / "policies", package.parent.parent / "policies"):
        if candidate.is_dir():
            return candidate
    raise FileNotFoundError(f"no policies beside {package}")


def mirrored(text: str) -> str:
    """Host b's file from host a's, and the other way round."""

    def exchange(found: re.Match[str]) -> str:
        if found["end"]:
            return found["link"] + ("1" if found["end"] == "2" else "2")
        return _OTHER[found[0]]

    return _WORD.sub(exchange, text)
