"""Where the BPF sources are, and the one text that the compiler gets.

bcc rewrites map accesses in a program's main file only, so the includes of our
own headers are put in place here, with line markers that keep the compiler's
messages true.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from pathlib import Path

_INCLUDE = re.compile(r'\s*#include "([\w.]+)"')
MAIN = "mpbond.c"


@cache
def bpf_dir() -> Path:
    """The folder of the C sources: beside ctl/ in a checkout, inside an installed package."""
    package = Path(__file__).resolve().parent
    for candidate in (package / "bpf", package.parent.parent / "bpf"):
        if (candidate / MAIN).exists():
            return candidate
    raise FileNotFoundError(f"no BPF sources beside {package}")


def one_text(name: str = MAIN) -> str:
    """The program with our headers in place, each once."""
    seen: set[str] = set()

    def expand(file: str) -> list[str]:
        if file in seen:
            return []
        seen.add(file)
        lines = [f'#line 1 "{file}"']
        for number, line in enumerate((bpf_dir() / file).read_text().splitlines(), 1):
            include = _INCLUDE.match(line)
            if include is None:
                lines.append(line)
                continue
            lines += expand(include[1])
            lines.append(f'#line {number + 1} "{file}"')
        return lines

    return "\n".join(expand(name)) + "\n"


def build_id(defines: dict[str, int]) -> int:
    """64 bits that differ when the programs or their sizes do."""
    text = one_text() + repr(sorted(defines.items()))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
