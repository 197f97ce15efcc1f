"""What the peer says of paths: decoded, and read from the maps."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mpbond.abi import PATH_LIVE, PeerMark, PolicyCode
from mpbond.controller.reading import PeerMarks, decode_marks, peer_marks, peer_spare_mask

VALID, SPARE = int(PeerMark.VALID), int(PeerMark.SPARE)


@pytest.mark.parametrize(
    ("why", "word", "found"),
    [
        ("nothing heard", 0, None),
        ("an older version, whatever else it sends", SPARE | 4, None),
        ("active-backup, no spare", VALID | 1, PeerMarks(1, False)),
        ("balance-xor, a spare", VALID | SPARE | 4, PeerMarks(4, True)),
        ("bits of a later version", VALID | 1 << 20 | 4, PeerMarks(4, False)),
        ("all bits", 0xFFFF_FFFF, PeerMarks(0xFF, True)),
    ],
)
def test_decode(why: str, word: int, found: PeerMarks | None) -> None:
    assert decode_marks(word) == found


@pytest.mark.parametrize("code", PolicyCode)
def test_policies_have_their_names(code: PolicyCode) -> None:
    assert PeerMarks(code.value, False).policy == code.name.lower().replace("_", "-")


def test_a_policy_of_a_later_version_is_told_by_its_number() -> None:
    assert PeerMarks(77, False).policy == "policy 77"


def plane(words: list[int]) -> Any:
    """As much of a data plane as is read here."""
    live = np.zeros(len(words), PATH_LIVE)
    live["peer_marks"] = words
    return SimpleNamespace(paths_live=live)


def test_read_from_the_map() -> None:
    here = plane([0, VALID | 4, VALID | SPARE | 1, SPARE])
    assert [peer_marks(here, index) for index in range(4)] == [
        None,
        PeerMarks(4, False),
        PeerMarks(1, True),
        None,
    ]
    assert peer_spare_mask(here, np.array([3, 2, 1, 0])).tolist() == [False, True, False, False]
    assert peer_spare_mask(here, np.zeros(0, np.int64)).tolist() == []
