"""Host b's file from host a's: every word that differs, and no other."""

from __future__ import annotations

import pytest

from mpbond.config import load_file
from mpbond.lab.mirror import mirrored, policies_dir

CASES = [
    ("ids", "node: {id: 00000000aa}", "node: {id: 00000000bb}"),
    ("inner addresses", '[10.99.0.1/24, "fd99::1/64"]', '[10.99.0.2/24, "fd99::2/64"]'),
    ("link addresses", "[10.77.1.2, 10.77.13.2]", "[10.77.1.1, 10.77.13.1]"),
    ("with ports", '["10.77.1.2:5555", "[fd77:3::2]:9944"]', '["10.77.1.1:5555", "[fd77:3::1]:9944"]'),
    ("names", "name: host-b  # Host b's", "name: host-a  # Host a's"),
    ("longer addresses stay", "10.99.0.12 10.77.1.22 110.77.1.2", "10.99.0.12 10.77.1.22 110.77.1.2"),
    ("longer ids stay", "00000000aab x00000000aa", "00000000aab x00000000aa"),
    ("anything else stays", "failoverInterval: 100", "failoverInterval: 100"),
]


@pytest.mark.parametrize(("text", "wanted"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_exchanged_and_back(text: str, wanted: str) -> None:
    assert mirrored(text) == wanted
    assert mirrored(wanted) == text


@pytest.mark.parametrize("name", ["demo-balance-xor", "demo-active-backup"])
def test_both_ends_of_the_demo_load(name: str, tmp_path: object) -> None:
    """And each is the other's peer, at the other's addresses."""
    from pathlib import Path

    text = (policies_dir() / f"{name}.yaml").read_text()
    configs = []
    for host, content in (("a", text), ("b", mirrored(text))):
        file = Path(str(tmp_path)) / f"{host}.yaml"
        file.write_text(content)
        configs.append(load_file(str(file)))
    for here, there in (configs, configs[::-1]):
        assert here.warnings == ()
        assert [peer.id for peer in here.peers] == [there.node.id]
        assert {str(end.address)[-1] for end in here.peers[0].endpoints} == ({"2", "1"} - {there_last(here)})


def there_last(config: object) -> str:
    """The last digit of this host's own inner address."""
    return str(config.interface.addresses[0].ip)[-1]  # type: ignore[attr-defined]
