"""Endpoints: a remote address with a port and, where needed, a link."""

from __future__ import annotations

import re
from ipaddress import IPv6Address

from mpbond.config.model import DEFAULT_PORT, Address, Endpoint
from mpbond.config.nodes import Mapping
from mpbond.config.reading import Section, Value
from mpbond.config.values import address, check_link, integer, link_name, refuse_special

_WANTED = "ADDRESS, ADDRESS:PORT, [V6]:PORT or {address, port, link}"
_PORT = re.compile(r"[1-9][0-9]{0,4}")
_HOST_NAME = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?")
_BRACKETS = re.compile(r"\[([^\]]*)\](?::(.*))?", re.DOTALL)


def endpoint(value: Value) -> Endpoint | None:
    """None where the parts of a mapping were reported as wrong already."""
    if isinstance(value.node, Mapping):
        return _from_mapping(value)
    host, port = split_port(value, value.text(_WANTED), _WANTED)
    remote, zone = _host(value, host, _WANTED)
    return _checked(value, Endpoint(remote, port or DEFAULT_PORT, zone))


def split_port(value: Value, text: str, wanted: str) -> tuple[str, int | None]:
    """Splits off the port; colons without brackets are all the address's."""
    brackets = _BRACKETS.fullmatch(text)
    if brackets:
        host, port = brackets.group(1), brackets.group(2)
        if ":" not in host:
            raise value.invalid(wanted, "brackets are for IPv6 addresses")
    elif text.count(":") == 1:
        host, port = text.split(":")
    else:
        host, port = text, None
    if port is None:
        return host, None
    if not _PORT.fullmatch(port) or int(port) > 65535:
        raise value.invalid(wanted, "the port is a decimal integer 1..65535")
    return host, int(port)


def _from_mapping(value: Value) -> Endpoint | None:
    section = Section(value)
    pair = section.need("address", _address, "an IP address", None)
    port = section.take("port", integer(1, 65535), DEFAULT_PORT)
    link = section.take("link", link_name, None)
    section.refuse_unknown()
    if pair is None:
        return None
    remote, zone = pair
    if zone and link and zone != link:
        raise value.invalid("one link", found=f"the zone {zone} and the link {link}")
    return _checked(value, Endpoint(remote, port, link or zone))


def _address(value: Value) -> tuple[Address, str | None]:
    wanted = "an IP address"
    text = value.text(wanted)
    host, port = split_port(value, text, wanted)
    if port is not None:
        raise value.invalid(wanted, "give the port as port:")
    return _host(value, host, wanted)


def _host(value: Value, text: str, wanted: str) -> tuple[Address, str | None]:
    """An address, and the link that an IPv6 zone names."""
    if _HOST_NAME.fullmatch(text) and ":" not in text:
        raise value.invalid(wanted, "names are not looked up; write the address")
    remote = address(value, text, wanted)
    zone = None
    if isinstance(remote, IPv6Address) and remote.scope_id is not None:
        zone = check_link(value, remote.scope_id)
        remote = IPv6Address(int(remote))
    refuse_special(value, remote)
    return remote, zone


def _checked(value: Value, endpoint: Endpoint) -> Endpoint:
    if endpoint.address.is_link_local and endpoint.address.version == 6 and endpoint.link is None:
        raise value.invalid(
            "a link beside a link-local address",
            f"write {{address: {endpoint.address}, link: NAME}}",
        )
    return endpoint
