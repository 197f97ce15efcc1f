"""The JSON blocks of ZeroTier's multipath document, letter by letter, from the excerpt
beside this file."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

_EXCERPT = Path(__file__).with_name("zerotier_multipath.md")
_HEADING_OR_FENCE = re.compile(r"^###+ ([^\n]+)$|^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block, under the heading where it stands; `info` has its caption."""

    heading: str
    info: str
    text: str


def _read(text: str) -> tuple[Block, ...]:
    heading = ""
    found: list[Block] = []
    for title, info, body in _HEADING_OR_FENCE.findall(text):
        if title:
            heading = title
        else:
            found.append(Block(heading, info, body))
    return tuple(found)


def _is_whole(block: Block) -> bool:
    """A whole `local.conf`, which the document means to be used as it stands."""
    try:
        return "settings" in json.loads(block.text)
    except ValueError:
        return False


BLOCKS = _read(_EXCERPT.read_text(encoding="utf-8"))
WHOLE = tuple(block for block in BLOCKS if _is_whole(block))


def _under(heading: str, nth: int = 0) -> str:
    return [block.text for block in BLOCKS if block.heading == heading][nth]


STANDARD = {
    name: _under(name)
    for name in ("active-backup", "broadcast", "balance-rr", "balance-xor", "balance-aware")
}
OPENING = _under("")
RAPID = _under("Custom policies")
NOT_JSON = _under("Custom policies", 1)
LINK_SETTINGS = _under("Physical interfaces")
XOR_WITH_A_SPARE = _under("Spare links")
PEER_SPECIFIC = _under("Peer-specific bonds")
MISPLACED = _under("active-backup", 1)
BALANCE_AWARE = _under("balance-aware", 1)
CAPACITIES = _under("Quality")


def moved(block: str) -> str:
    """MISPLACED with its one correction: the policy under settings.policies."""
    settings = json.loads(block)["settings"]
    name = settings["defaultBondingPolicy"]
    return json.dumps({"settings": {"policies": {name: settings.pop(name)}, **settings}})
