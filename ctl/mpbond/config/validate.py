"""Nodes -> `Config`: the top level, and the error that carries every problem."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from mpbond.config.endpoint import split_port
from mpbond.config.model import DEFAULT_FLOWS, DEFAULT_PORT, Api, BondInterface, Config, Node, RxMode
from mpbond.config.nodes import Mapping, parse
from mpbond.config.nodes import Node as Tree
from mpbond.config.peers import peers
from mpbond.config.reading import Reading, Section, Value, members
from mpbond.config.settings import SETTINGS_KEYS, Bonds, bonds
from mpbond.config.values import (
    WANTED_ID,
    address,
    choice,
    device_name,
    each,
    file_path,
    integer,
    interface_address,
    key_bytes,
    link_name,
    peer_id,
)
from mpbond.errors import ConfigError
from mpbond.identity import identity

# The far end of the interface's veth is called NAME-tx, within the kernel's 15.
_LONGEST_NAME = 12
_MTU_MIN_IPV6 = 1280
_LISTEN = "ADDRESS:PORT or [V6]:PORT"


def read(text: str, file: str) -> Config:
    """The configuration in `text`; raises `ConfigError` with all that is wrong."""
    tree, problems = parse(text, file)
    return validate(tree, Reading(file, problems))


def validate(tree: Tree, reading: Reading) -> Config:
    config = reading.attempt(Value(reading, tree, "", tree.line), _config, None)
    if config is None or reading.problems:
        by_line = sorted(reading.problems, key=lambda problem: problem.line)
        raise ConfigError(reading.file, tuple(by_line))
    return replace(config, warnings=tuple(text for _, text in sorted(reading.warnings)))


def _config(root: Value) -> Config:
    section = Section(root, "a mapping with node, interface, settings, peers, api")
    reading = root.reading
    node = section.need("node", _node, "a mapping with id", None)
    _name_devices(reading, BondInterface().name)
    interface = section.take("interface", _interface, BondInterface())
    bonded = section.take("settings", bonds, Bonds())
    config = Config(
        file=reading.file,
        node=node or Node(""),
        interface=interface,
        settings=bonded.settings,
        default_policy=bonded.default,
        policies=bonded.custom,
        peers=section.need("peers", partial(peers, own=node, bonds=bonded), "a mapping of peers", ()),
        api=section.take("api", _api, None),
    )
    for name, _ in section.unknown():
        section.refuse_key(name, "it belongs under settings" if name in SETTINGS_KEYS else "")
    return config


def _node(value: Value) -> Node:
    section = Section(value)
    key = section.take("privateKey", key_bytes, None)
    key_file = section.take("privateKeyFile", file_path, None)
    in_file, inline = section.given("privateKeyFile"), section.given("privateKey")
    if in_file or inline:
        ident = section.take("id", peer_id, "")
    else:
        ident = section.need("id", peer_id, WANTED_ID, "")
    if in_file and inline:
        section.value.report("privateKey and privateKeyFile", "one of them")
    elif key is not None:
        ident = _id_of_key(section, identity(key).id, ident)
    port = section.take("port", integer(1, 65_535), DEFAULT_PORT)
    section.refuse_unknown()
    return Node(ident, port, key, key_file)


def _id_of_key(section: Section, derived: str, given: str) -> str:
    """The id that follows from the private key; another one beside it is an error."""
    at = section.given("id")
    if at is not None and given and given != derived:
        at.report(given, derived, "it follows from the private key, and may be left out")
    return derived


def _name_devices(reading: Reading, name: str) -> None:
    """From here on these names are no links."""
    reading.own_devices = (name, f"{name}-tx")


def _interface(value: Value) -> BondInterface:
    section = Section(value)
    name = section.take("name", device_name(_LONGEST_NAME), BondInterface().name)
    _name_devices(value.reading, name)
    rx, rx_links = section.take("rx", _rx, (RxMode.AUTO, ()))
    interface = BondInterface(
        name=name,
        addresses=section.take("addresses", each(interface_address, "a list of addresses"), ()),
        mtu=section.take("mtu", integer(576, 65_535, "bytes"), None),
        rx=rx,
        flows=section.take("flows", integer(1024, 16_777_216), DEFAULT_FLOWS),
        rx_links=rx_links,
    )
    section.refuse_unknown()
    _check_mtu(section, interface)
    return interface


def _check_mtu(section: Section, interface: BondInterface) -> None:
    has_ipv6 = any(one.version == 6 for one in interface.addresses)
    at = section.given("mtu")
    if at is not None and interface.mtu is not None and has_ipv6 and interface.mtu < _MTU_MIN_IPV6:
        at.report(at.found(), f"at least {_MTU_MIN_IPV6} (bytes)", "addresses has an IPv6 one")


def _rx(value: Value) -> tuple[RxMode, tuple[tuple[str, RxMode], ...]]:
    """One mode for all links, or a mapping of links with `default` for the rest."""
    mode = choice(list(RxMode))
    if not isinstance(value.node, Mapping):
        return mode(value), ()
    chosen: dict[str, RxMode] = {}
    for name, key, child in members(value):
        if name != "default":
            value.reading.attempt(key, link_name, None)
        chosen[name] = value.reading.attempt(child, mode, RxMode.AUTO)
    default = chosen.pop("default", RxMode.AUTO)
    return default, tuple(chosen.items())


def _api(value: Value) -> Api:
    section = Section(value)
    api = Api(
        listen=section.take("listen", _listen, None), token_file=section.take("tokenFile", file_path, None)
    )
    section.refuse_unknown()
    token, listen = section.given("tokenFile"), section.given("listen")
    if token is not None and listen is None:
        token.warn("has no effect without listen")
    elif listen is not None and token is None:
        listen.warn("no tokenFile: whoever reaches this address may read everything")
    return api


def _listen(value: Value) -> str:
    host, port = split_port(value, value.text(_LISTEN), _LISTEN)
    if port is None:
        raise value.invalid(_LISTEN, "the port is missing")
    where = address(value, host, _LISTEN)
    return f"[{where}]:{port}" if where.version == 6 else f"{where}:{port}"
