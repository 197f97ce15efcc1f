"""Host b's file from host a's: every word that differs, and no other."""

from __future__ import annotations

from pathlib import Path

import pytest

from mpbond.config import load_file
from mpbond.lab.mirror import mirrored, policies_dir
from mpbond.lab.report import WIDTH
from mpbond.lab.topology import link_address

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
def test_both_ends_of_the_demo_load(name: str, tmp_path: Path) -> None:
    """And each is the other's peer, at the other's addresses."""
    text = (policies_dir() / f"{name}.yaml").read_text()
    assert max(map(len, text.splitlines())) <= WIDTH - 4, "to be shown in a frame"
    configs = []
    for host, content in (("a", text), ("b", mirrored(text))):
        file = tmp_path / f"{host}.yaml"
        file.write_text(content)
        configs.append(load_file(str(file)))
    for here, there, end in ((*configs, 2), (*configs[::-1], 1)):
        (peer,) = here.peers
        assert here.warnings == ()
        assert peer.id == there.node.id
        assert [str(endpoint.address) for endpoint in peer.endpoints] == [
            link_address(link, end) for link in (1, 2, 3)
        ]
        assert {str(network) for network in peer.allowed} == {f"10.99.0.{end}/32", f"fd99::{end}/128"}
