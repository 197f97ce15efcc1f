"""`peers`: identity, keys, networks, endpoints."""

from __future__ import annotations

import base64
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from mpbond.config import load_text
from mpbond.config.model import Encryption, Endpoint
from tests.unit.config.sample import (
    COUNTED_ID,
    ZERO_KEY,
    Bad,
    assert_bad,
    assert_only,
    by_public_key,
    good,
    peer,
    problems,
    rendered,
)

P = "peers.abcdef0123"
KEY = bytes(range(32))
BASE64 = base64.b64encode(KEY).decode()


def peers(*bodies: str) -> str:
    """The node, then a peer per line from line 3 on: 0000000001, 0000000002 ..."""
    lines = [f"  {n:010d}: {{{body}}}" for n, body in enumerate(bodies, 1)]
    return "\n".join(["node: {id: abcdef0123}", "peers:", *lines, ""])


def keyed(key: str) -> str:
    return peer(f"allowed: [10.9.0.2/32], {key}", complete=False)


def allowing(networks: str) -> str:
    return peer(f"key: '{ZERO_KEY}', allowed: [{networks}]", complete=False)


def at(endpoints: str) -> str:
    return peer(f"endpoints: [{endpoints}]")


WANTED_KEY = "32 bytes as 44 characters of base64 or 64 hex digits"
ONE_KEY = "publicKey, or one of key and keyFile"
PUBLIC = f"peers.{COUNTED_ID}.publicKey"

ROWS = [
    Bad(keyed(""), 3, P, ("found no key", ONE_KEY)),
    Bad(keyed(f"key: '{ZERO_KEY}', keyFile: k"), 3, P, ("found key and keyFile", "one of them")),
    Bad(
        by_public_key(f"publicKey: {BASE64}, key: '{ZERO_KEY}', keyFile: k"),
        3,
        f"peers.{COUNTED_ID}",
        ("found key and keyFile", "one of them"),
    ),
    Bad(
        by_public_key(f"publicKey: {BASE64}", "id: 0123456789"),
        3,
        PUBLIC,
        ("found a public key", "a private key of this node", "give node.privateKeyFile"),
    ),
    Bad(
        by_public_key(f"publicKey: '{ZERO_KEY}'"),
        3,
        PUBLIC,
        (f"wanted the key of {COUNTED_ID}", "a peer's id follows from its public key"),
    ),
    *(
        Bad(keyed(f"{name}: {value}"), 3, f"{P}.{name}", (found, WANTED_KEY))
        for name in ("key", "publicKey")
        for value, found in (
            ("abc", "3 characters"),
            (ZERO_KEY[1:], "63 characters"),
            (f"'{BASE64[:-1]}'", "43 characters"),
            (f"'{base64.b64encode(KEY[1:]).decode()}'", "31 bytes"),
            (f"'{BASE64[:-2]}9='", "44 characters"),
            ("'é'", "1 characters"),
            ("~", "found nothing"),
            ("[a]", "found a list"),
        )
    ),
    Bad(keyed("keyFile: ~/key"), 3, f"{P}.keyFile", ("the path of a file", "~ is not expanded")),
    Bad(keyed("keyFile: ''"), 3, f"{P}.keyFile", ("the path of a file",)),
    Bad(keyed("keyFile: keys/"), 3, f"{P}.keyFile", ("the path of a file",)),
    Bad(keyed('keyFile: "a\\0b"'), 3, f"{P}.keyFile", ("the path of a file",)),
    Bad(keyed("keyFile: ~"), 3, f"{P}.keyFile", ("found nothing", "the path of a file")),
    Bad(
        peer(f"key: '{ZERO_KEY}'", complete=False), 3, f"{P}.allowed", ("no such key", "at least one network")
    ),
    Bad(allowing(""), 3, f"{P}.allowed", ("an empty list", "at least one network")),
    Bad(allowing("10.9.0.5/24"), 3, f"{P}.allowed[0]", ("without host bits", "did you mean 10.9.0.0/24?")),
    Bad(allowing("'fd00::1/64'"), 3, f"{P}.allowed[0]", ("without host bits", "did you mean fd00::/64?")),
    Bad(allowing("10.9.0.5"), 3, f"{P}.allowed[0]", ("write 10.9.0.5/32 for one host",)),
    Bad(allowing("'fd00::1'"), 3, f"{P}.allowed[0]", ("write fd00::1/128 for one host",)),
    Bad(allowing("10.9.0.0/255.255.255.0"), 3, f"{P}.allowed[0]", ("with its prefix length",)),
    Bad(allowing("10.9.0.0/33"), 3, f"{P}.allowed[0]", ("with its prefix length",)),
    Bad(allowing("10.9.0.0/024"), 3, f"{P}.allowed[0]", ("with its prefix length",)),
    Bad(allowing("'fe80::%eth0/64'"), 3, f"{P}.allowed[0]", ("with its prefix length",)),
    Bad(allowing("office"), 3, f"{P}.allowed[0]", ("found office", "such as 10.9.0.0/24")),
    Bad(allowing("5"), 3, f"{P}.allowed[0]", ("found 5", "with its prefix length")),
    Bad(allowing("~"), 3, f"{P}.allowed[0]", ("found nothing",)),
    Bad(allowing("10.9.0.0/24, 10.9.0.0/24"), 3, f"{P}.allowed[1]", (f"the same as {P}.allowed[0]",)),
    Bad(peer("name: a b"), 3, f"{P}.name", ('found "a b"', "letters, digits, dots")),
    Bad(peer("name: ''"), 3, f"{P}.name", ("letters, digits, dots",)),
    Bad(peer("name: -x"), 3, f"{P}.name", ("letters, digits, dots",)),
    Bad(peer(f"name: {'x' * 64}"), 3, f"{P}.name", ("at most 63",)),
    Bad(peer("name: 0123456789"), 3, f"{P}.name", ("does not look like an id",)),
    Bad(peer("name: ABCDEFABCD"), 3, f"{P}.name", ("does not look like an id",)),
    Bad(peer("name: {a: b}"), 3, f"{P}.name", ("a mapping", "a name of at most 63")),
    *(
        Bad(peer("").replace("abcdef0123", ident), 3, f"peers.{shown}", ("10 lower-case hex digits",))
        for ident, shown in (
            ("berlin", "berlin"),
            ("abcdef012", "abcdef012"),
            ("abcdef01234", "abcdef01234"),
            ("ABCDEF0123", "ABCDEF0123"),
            ("~", '"~"'),
            ("'１２３４５６７８９０'", '"１２３４５６７８９０"'),
        )
    ),
    Bad(
        peer("").replace("abcdef0123", "0123456789"),
        3,
        "peers.0123456789",
        ("another node", "node.id is the same"),
    ),
]

FORMS = "ADDRESS, ADDRESS:PORT, [V6]:PORT or {address, port, link}"
ENDPOINT_ROWS = [
    *(
        Bad(at(f"'{text}'"), 3, f"{P}.endpoints[0]", fragments)
        for text, fragments in (
            ("example.com", (FORMS, "names are not looked up")),
            ("localhost:9944", (FORMS, "names are not looked up")),
            ("192.0.2.1:0", (FORMS, "1..65535")),
            ("192.0.2.1:65536", (FORMS, "1..65535")),
            ("192.0.2.1:", (FORMS, "1..65535")),
            ("192.0.2.1:http", (FORMS, "1..65535")),
            ("192.0.2.1:09944", (FORMS, "1..65535")),
            ("192.0.2.256", (FORMS,)),
            ("192.0.2", (FORMS,)),
            ("192.0.02.1", (FORMS,)),
            ("[192.0.2.1]:5", (FORMS, "brackets are for IPv6")),
            ("[2001:db8::1]:", (FORMS, "1..65535")),
            ("[2001:db8::1]5", (FORMS,)),
            ("[2001:db8::1", (FORMS,)),
            ("2001:db8::g", (FORMS,)),
            ("2001:db8::1%", (FORMS,)),
            ("2001:db8::1%a b", ("an interface name",)),
            ("2001:db8::1%mp0", ("belongs to the bond itself",)),
            ("192.0.2.1/24", (FORMS,)),
            ("", (FORMS,)),
            ("0.0.0.0", ("the unspecified address",)),
            ("::", ("the unspecified address",)),
            ("224.0.0.5", ("a multicast address",)),
            ("[ff02::1%eth0]:5", ("a multicast address",)),
            ("127.1.2.3:9944", ("a loopback address",)),
            ("::1", ("a loopback address",)),
            ("255.255.255.255", ("the broadcast address",)),
            ("::ffff:192.0.2.1", ("write 192.0.2.1",)),
            ("fe80::1", ("a link beside a link-local address", "{address: fe80::1, link: NAME}")),
            ("[fe80::1]:5", ("a link beside a link-local address",)),
        )
    ),
    Bad(at("~"), 3, f"{P}.endpoints[0]", ("found nothing", FORMS)),
    Bad(at("[a]"), 3, f"{P}.endpoints[0]", ("a list", FORMS)),
    Bad(at("{port: 5}"), 3, f"{P}.endpoints[0].address", ("no such key", "an IP address")),
    Bad(at("{address: a.example}"), 3, f"{P}.endpoints[0].address", ("names are not looked up",)),
    Bad(at("{address: 192.0.2.1:5}"), 3, f"{P}.endpoints[0].address", ("give the port as port:",)),
    Bad(at("{address: 5}"), 3, f"{P}.endpoints[0].address", ("found 5", "an IP address")),
    Bad(at("{address: ~}"), 3, f"{P}.endpoints[0].address", ("found nothing", "an IP address")),
    Bad(at("{address: 192.0.2.1, link: mp0}"), 3, f"{P}.endpoints[0].link", ("belongs to the bond itself",)),
    Bad(at("{address: 192.0.2.1, link: a/b}"), 3, f"{P}.endpoints[0].link", ("an interface name",)),
    Bad(at("{address: 192.0.2.1, link: ~}"), 3, f"{P}.endpoints[0].link", ("found nothing",)),
    Bad(at("{address: 'fe80::1'}"), 3, f"{P}.endpoints[0]", ("a link beside a link-local address",)),
    Bad(
        at("{address: 'fe80::1%eth0', link: eth1}"),
        3,
        f"{P}.endpoints[0]",
        ("the zone eth0 and the link eth1", "one link"),
    ),
    Bad(at("192.0.2.1, '192.0.2.1:9944'"), 3, f"{P}.endpoints[1]", (f"the same as {P}.endpoints[0]",)),
    Bad(at("'fe80::1%e', {address: 'fe80::1', link: e}"), 3, f"{P}.endpoints[1]", ("the same as",)),
]


@pytest.mark.parametrize("row", ROWS + ENDPOINT_ROWS, ids=lambda row: row.id)
def test_refused_peer(row: Bad) -> None:
    if "no key" not in row.fragments[0] and row.key.endswith(("key", "publicKey", "keyFile")):
        assert_bad(row)
    else:
        assert_only(row)


def test_a_wrong_key_is_never_shown() -> None:
    secret = "c2VjcmV0IHNlY3JldCBzZWNyZXQ"
    for key in ("key", "publicKey"):
        assert secret not in rendered(keyed(f"{key}: {secret}"))


def test_a_key_is_not_in_the_repr() -> None:
    config = good(keyed(f"key: '{BASE64}'"))
    assert config.peers[0].key == KEY
    assert repr(KEY) not in repr(config)


@pytest.mark.parametrize("text", [BASE64, KEY.hex(), KEY.hex().upper()])
def test_keys_are_base64_or_hex(text: str) -> None:
    assert good(keyed(f"key: '{text}'")).peers[0].key == KEY
    assert good(by_public_key(f"publicKey: {text}")).peers[0].public_key == KEY


def test_key_file_is_absolute_against_the_folder_of_the_file() -> None:
    text = keyed("keyFile: keys/b.key")
    assert load_text(text, "/etc/mpbond/bond.yaml").peers[0].key_file == "/etc/mpbond/keys/b.key"
    assert good(text).peers[0].key_file == str(Path.cwd() / "keys/b.key")
    assert good(keyed("keyFile: /k")).peers[0].key_file == "/k"


ENDPOINTS = [
    ("192.0.2.1", Endpoint(ip_address("192.0.2.1"))),
    ("192.0.2.1:1", Endpoint(ip_address("192.0.2.1"), 1)),
    ("'2001:db8::1'", Endpoint(ip_address("2001:db8::1"))),
    ("'[2001:db8::1]'", Endpoint(ip_address("2001:db8::1"))),
    ("'[2001:db8::1]:65535'", Endpoint(ip_address("2001:db8::1"), 65535)),
    ("'fe80::1%eth0'", Endpoint(ip_address("fe80::1"), 9944, "eth0")),
    ("'[fe80::1%eth0.7]:5'", Endpoint(ip_address("fe80::1"), 5, "eth0.7")),
    ("{address: 'fe80::1', link: eth0}", Endpoint(ip_address("fe80::1"), 9944, "eth0")),
    ("{address: '[2001:db8::1]', port: 7}", Endpoint(ip_address("2001:db8::1"), 7)),
    ("{address: 'fe80::1%eth0', link: eth0}", Endpoint(ip_address("fe80::1"), 9944, "eth0")),
]


@pytest.mark.parametrize(("text", "endpoint"), ENDPOINTS, ids=[row[0] for row in ENDPOINTS])
def test_forms_of_an_endpoint(text: str, endpoint: Endpoint) -> None:
    assert good(at(text)).peers[0].endpoints == (endpoint,)


def test_endpoint_without_port_takes_the_default_not_the_nodes() -> None:
    text = at("192.0.2.1").replace("{id: 0123456789}", "{id: 0123456789, port: 5}")
    assert good(text).peers[0].endpoints[0].port == 9944


def test_defaults_of_a_peer() -> None:
    (one,) = good(peer("")).peers
    assert (one.name, one.endpoints, one.encryption) == (None, (), Encryption.NONE)
    assert (one.num_connections, one.max_send_kbps, one.max_recv_kbps) == (0, 0, 0)
    assert (one.key, one.key_file, one.public_key) == (bytes(32), None, None)


def test_all_of_a_peer() -> None:
    text = peer("name: a-b.c_1, numConnections: -3, maxSendKbps: 5, maxRecvKbps: 6, encryption: wireguard")
    (one,) = good(text).peers
    assert (one.id, one.name, one.num_connections) == ("abcdef0123", "a-b.c_1", -3)
    assert (one.max_send_kbps, one.max_recv_kbps, one.encryption) == (5, 6, Encryption.WIREGUARD)


def test_networks_may_overlap_but_not_be_the_same() -> None:
    rest = f"key: '{ZERO_KEY}'"
    text = peers(f"{rest}, allowed: [0.0.0.0/0, 10.0.0.0/8]", f"{rest}, allowed: [10.0.0.0/16, '::/0']")
    assert good(text).peers[1].allowed == (ip_network("10.0.0.0/16"), ip_network("::/0"))
    text = peers(f"{rest}, allowed: [10.0.0.0/8]", f"{rest}, allowed: [10.0.0.0/16, 10.0.0.0/8]")
    fragments = ("found 10.0.0.0/8", "a network that no other peer has", "peer 0000000001 has it too")
    assert_only(Bad(text, 4, "peers.0000000002.allowed[1]", fragments))


def test_names_and_public_keys_are_one_peers_own() -> None:
    rest = f"name: berlin, publicKey: '{BASE64}'"
    text = by_public_key(rest) + f"  0000000002: {{{rest}, allowed: [10.0.0.0/16]}}\n"
    assert_bad(Bad(text, 4, "peers.0000000002.name", ("found berlin", f"peer {COUNTED_ID} has it too")))
    assert_bad(Bad(text, 4, "peers.0000000002.publicKey", ("found a key", f"peer {COUNTED_ID} has it too")))
    assert len(problems(text)) == 2


@pytest.mark.parametrize("shared", ["", f", key: '{ZERO_KEY}'", ", keyFile: k"])
def test_a_public_key_alone_or_with_a_pre_shared_one(shared: str) -> None:
    (one,) = good(by_public_key(f"publicKey: {BASE64}{shared}")).peers
    assert one.public_key == KEY
    assert (one.key is not None, one.key_file is not None) == ("key:" in shared, "keyFile" in shared)


def test_endpoint_on_a_link_that_the_policy_leaves_out_is_warned_about() -> None:
    text = at("{address: 192.0.2.1, link: eth7}")
    text += "settings: {defaultBondingPolicy: p, policies: {p: {basePolicy: broadcast, links: {eth0: {}}}}}\n"
    (warning,) = good(text).warnings
    assert f"{P}.endpoints: 192.0.2.1 is tied to eth7, which policy p does not use" in warning


SHARED = ["key: '" + ZERO_KEY + "'", "keyFile: k"]


@pytest.mark.parametrize("key", SHARED)
@pytest.mark.parametrize("number", [2, 200])
def test_several_connections_with_a_shared_key_are_warned_about(key: str, number: int) -> None:
    """There is no handshake that could agree on them."""
    text = peers(f"{key}, allowed: [10.0.0.0/8], numConnections: {number}")
    (warning,) = good(text).warnings
    assert "numConnections: has no effect with a shared key alone" in warning


@pytest.mark.parametrize("number", [-1, 0, 1])
def test_one_connection_with_a_shared_key_is_as_it_is(number: int) -> None:
    text = peers(f"{SHARED[0]}, allowed: [10.0.0.0/8], numConnections: {number}")
    assert good(text).warnings == ()


@pytest.mark.parametrize("shared", ["", f", key: '{ZERO_KEY}'"])
def test_several_connections_with_a_public_key(shared: str) -> None:
    assert good(by_public_key(f"publicKey: {BASE64}{shared}, numConnections: 8")).warnings == ()
