"""The node, the interface, the api, and files that cannot be read."""

from __future__ import annotations

import os
from ipaddress import ip_interface
from pathlib import Path

import pytest

from mpbond.config import load_file, load_text
from mpbond.config.model import Api, BondInterface, Node, RxMode
from mpbond.config.nodes import MAX_BYTES
from mpbond.errors import EXIT_USAGE, ConfigError
from tests.unit.config.sample import HEAD, ZERO_ID, ZERO_KEY, Bad, assert_only, good, problems, top

ADDRESS = "an address with its prefix length, such as 10.9.0.1/24"


def interface(body: str) -> str:
    return top(f"interface: {{{body}}}")


ROWS = [
    Bad("peers: {}\n", 1, "node", ("no such key", "a mapping with id", "it is required")),
    Bad("node: {id: 0123456789}\n", 1, "peers", ("no such key", "a mapping of peers")),
    Bad("node: {}\npeers: {}\n", 1, "node.id", ("no such key", "10 lower-case hex digits")),
    Bad(
        "node: {id: ABCDEF0123}\npeers: {}\n", 1, "node.id", ("10 lower-case hex digits", "write abcdef0123")
    ),
    Bad("node: {id: 123}\npeers: {}\n", 1, "node.id", ("found 123", "10 lower-case hex digits")),
    Bad("node: {id: ~}\npeers: {}\n", 1, "node.id", ("found nothing",)),
    Bad("node: {id: [a]}\npeers: {}\n", 1, "node.id", ("found a list",)),
    Bad("node: {id: 012345678g}\npeers: {}\n", 1, "node.id", ("10 lower-case hex digits",)),
    Bad(
        f"node: {{id: 0123456789, privateKey: '{ZERO_KEY}'}}\npeers: {{}}\n",
        1,
        "node.id",
        ("found 0123456789", f"wanted {ZERO_ID}", "it follows from the private key"),
    ),
    Bad(
        f"node: {{privateKey: '{ZERO_KEY}', privateKeyFile: k}}\npeers: {{}}\n",
        1,
        "node",
        ("found privateKey and privateKeyFile", "one of them"),
    ),
    Bad("node: {privateKey: abc}\npeers: {}\n", 1, "node.privateKey", ("3 characters", "32 bytes")),
    Bad("node: {privateKeyFile: ~/k}\npeers: {}\n", 1, "node.privateKeyFile", ("~ is not expanded",)),
    *(
        Bad(interface(f"name: {name}"), 3, "interface.name", (wanted,))
        for name, wanted in (
            ("abcdefghijklm", "1..12 bytes"),
            ("''", "1..12 bytes"),
            ("a/b", "no whitespace, slash"),
            ("'a b'", "no whitespace"),
            ("mp%d", "percent"),
            (".", "an interface name"),
            ("~", "an interface name"),
            ("[a]", "an interface name"),
        )
    ),
    *(
        Bad(interface(f"addresses: ['{address}']"), 3, "interface.addresses[0]", (wanted,))
        for address, wanted in (
            ("10.9.0.1", ADDRESS),
            ("10.9.0.1/33", ADDRESS),
            ("10.9.0.1/255.255.255.0", ADDRESS),
            ("fd00::1/129", ADDRESS),
            ("fe80::1%eth0/64", ADDRESS),
            ("host", ADDRESS),
            ("", ADDRESS),
            ("0.0.0.0/0", "the unspecified address"),
            ("224.0.0.1/4", "a multicast address"),
            ("127.0.0.1/8", "a loopback address"),
            ("::1/128", "a loopback address"),
        )
    ),
    Bad(interface("addresses: [10.9.0.1/24, 10.9.0.1/24]"), 3, "interface.addresses[1]", ("the same as",)),
    Bad(
        interface("addresses: ['fd00::1/64'], mtu: 1279"),
        3,
        "interface.mtu",
        ("at least 1280", "an IPv6 one"),
    ),
    Bad(interface("rx: [tc]"), 3, "interface.rx", ("one of auto, tc, xdp",)),
    Bad(interface("rx: {a b: tc}"), 3, 'interface.rx."a b"', ("an interface name",)),
    Bad(interface("rx: {default: on}"), 3, "interface.rx.default", ("one of auto, tc, xdp",)),
    Bad(interface("rx: {mp0: tc}"), 3, "interface.rx.mp0", ("belongs to the bond itself",)),
    Bad(interface("rx: {b0-tx: tc}, name: b0"), 3, "interface.rx.b0-tx", ("belongs to the bond itself",)),
    *(
        Bad(
            top(f"api: {{listen: '{listen}', tokenFile: t}}"),
            3,
            "api.listen",
            ("ADDRESS:PORT or [V6]:PORT", advice),
        )
        for listen, advice in (
            ("127.0.0.1", "the port is missing"),
            ("::1", "the port is missing"),
            ("127.0.0.1:0", "1..65535"),
            ("127.0.0.1:99999", "1..65535"),
            ("localhost:80", "localhost:80"),
            (":80", ":80"),
            ("[127.0.0.1]:80", "brackets are for IPv6"),
        )
    ),
    Bad(top("api: {listen: 80, tokenFile: t}"), 3, "api.listen", ("found 80", "ADDRESS:PORT")),
    Bad(top("api: {listen: '127.0.0.1:80', tokenFile: ''}"), 3, "api.tokenFile", ("the path of a file",)),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_refused_top_level(row: Bad) -> None:
    assert_only(row)


def test_smallest_file() -> None:
    config = good(HEAD)
    assert config.node == Node("0123456789", 9944)
    assert config.interface == BondInterface("mp0", (), None, RxMode.AUTO, 262_144, ())
    assert (config.file, config.peers, config.api, config.warnings) == ("test.yaml", (), None, ())


def test_whole_interface() -> None:
    text = interface(
        "name: abcdefghijkl, addresses: [10.9.0.1/24, 'fd00::1/64'], mtu: 1280, rx: xdp, flows: 1024"
    )
    assert good(text).interface == BondInterface(
        name="abcdefghijkl",
        addresses=(ip_interface("10.9.0.1/24"), ip_interface("fd00::1/64")),
        mtu=1280,
        rx=RxMode.XDP,
        flows=1024,
    )


def test_small_mtu_without_ipv6() -> None:
    assert good(interface("addresses: [10.9.0.1/24], mtu: 576")).interface.mtu == 576


def test_rx_per_link() -> None:
    found = good(interface("rx: {eth0: xdp, default: tc, eth1: auto}")).interface
    assert (found.rx, found.rx_links) == (RxMode.TC, (("eth0", RxMode.XDP), ("eth1", RxMode.AUTO)))
    assert good(interface("rx: {eth0: xdp}")).interface.rx is RxMode.AUTO


def test_the_default_name_is_a_link_when_the_interface_has_another() -> None:
    assert good(interface("name: b0, rx: {mp0: tc}")).interface.rx_links == (("mp0", RxMode.TC),)


def test_api() -> None:
    text = top("api: {listen: '[::1]:9945', tokenFile: token}")
    assert load_text(text, "/etc/mpbond/a.yaml").api == Api("[::1]:9945", "/etc/mpbond/token")
    assert good(top("api: {}")).api == Api(None, None)


def test_half_an_api_is_warned_about() -> None:
    assert "api.tokenFile: has no effect without listen" in good(top("api: {tokenFile: t}")).warnings[0]
    assert "api.listen: no tokenFile" in good(top("api: {listen: '127.0.0.1:80'}")).warnings[0]


def test_config_is_frozen_and_hashable() -> None:
    config = good(HEAD)
    assert hash(config) == hash(good(HEAD))
    with pytest.raises(AttributeError):
        config.file = "x"  # type: ignore[misc]


def refused(path: Path | str) -> str:
    with pytest.raises(ConfigError) as caught:
        load_file(path)
    assert caught.value.exit_code == EXIT_USAGE
    (problem,) = caught.value.problems
    return problem.render(caught.value.file)


def test_file_loads_and_knows_its_name(tmp_path: Path) -> None:
    path = tmp_path / "bond.yaml"
    path.write_text(HEAD, encoding="utf-8-sig")
    assert load_file(path).file == str(path)
    assert load_file(str(path)).node.id == "0123456789"


def test_unusable_files(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    assert refused(bad) == f"{bad}: found no such file, wanted a readable YAML file"
    assert refused(tmp_path) == f"{tmp_path}: found a directory, wanted a readable YAML file"
    assert "found an impossible path" in refused("a\0b")
    assert "found an unreadable file (Not a directory)" in refused(Path(os.devnull) / "x")
    bad.write_bytes(b"#" * (MAX_BYTES + 1))
    assert refused(bad) == f"{bad}: found a larger file, wanted at most 1048576 bytes"
    bad.write_bytes(b"node:\n  id: \xff\n")
    assert refused(bad) == f"{bad}:2: found the byte 0xff, wanted UTF-8 text"
    bad.write_bytes("node: {}".encode("utf-16"))
    assert "found the byte 0xff, wanted UTF-8 text" in refused(bad)
    bad.write_bytes(b"")
    assert refused(bad) == f"{bad}: found an empty file, wanted a configuration with at least node and peers"


def test_problems_are_those_of_the_text() -> None:
    assert [problem.line for problem in problems("x: 1\ny: 2\n")] == [1, 1, 1, 2]


@pytest.mark.parametrize(
    ("node", "ident"),
    [
        (f"privateKey: '{ZERO_KEY}'", ZERO_ID),
        (f"id: {ZERO_ID}, privateKey: '{ZERO_KEY}'", ZERO_ID),
        ("privateKeyFile: k", ""),
        ("id: 0123456789, privateKeyFile: k", "0123456789"),
    ],
)
def test_id_and_private_key(node: str, ident: str) -> None:
    """From a file it follows when that is read."""
    config = good(f"node: {{{node}}}\npeers: {{}}\n")
    assert config.node.id == ident
    assert config.node.has_private_key
    assert repr(bytes(32)) not in repr(config)
