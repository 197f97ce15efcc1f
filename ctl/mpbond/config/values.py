"""One parser per kind of value. None of them clamps, rounds or guesses."""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Iterable
from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv6Address,
    NetmaskValueError,
    ip_address,
    ip_interface,
    ip_network,
)
from typing import TypeVar

from mpbond.config.model import Address, Interface, Network
from mpbond.config.quote import listing
from mpbond.config.reading import Parser, Value

T = TypeVar("T")
N = TypeVar("N", bound=str)

_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_ID = re.compile(r"[0-9a-f]{10}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_PREFIX = re.compile(r"[^%/]+/(0|[1-9][0-9]{0,2})")

WANTED_ID = "10 lower-case hex digits"
WANTED_KEY = "32 bytes as 44 characters of base64 or 64 hex digits"
_BAD_ADDRESS = (ValueError, AddressValueError, NetmaskValueError)


def integer(low: int, high: int, unit: str = "") -> Parser[int]:
    """Decimal only: hex, octal and underscores mean different things to different readers."""
    wanted = f"a decimal integer {low}..{high}" + (f" ({unit})" if unit else "")

    def parse(value: Value) -> int:
        text = value.plain_text(wanted)
        # The length test keeps int() from numbers it refuses to convert.
        if not _INTEGER.fullmatch(text) or len(text) > 20 or not low <= int(text) <= high:
            raise value.invalid(wanted)
        return int(text)

    return parse


def number_from(options: tuple[int, ...]) -> Parser[int]:
    wanted = "one of " + listing([str(option) for option in options])

    def parse(value: Value) -> int:
        text = value.plain_text(wanted)
        if text not in {str(option) for option in options}:
            raise value.invalid(wanted)
        return int(text)

    return parse


def decimal(wanted: str, *, positive: bool, high: float = math.inf) -> Parser[float]:
    """A finite number, 0 or more, or more than 0 where `positive`."""

    def parse(value: Value) -> float:
        text = value.plain_text(wanted)
        number = float(text) if _FLOAT.fullmatch(text) else math.nan
        legal = math.isfinite(number) and 0 <= number <= high and not (positive and number == 0)
        if not legal:
            raise value.invalid(wanted)
        return number

    return parse


def boolean(value: Value) -> bool:
    text = value.plain_text("true or false")
    if text not in ("true", "false"):
        raise value.invalid("true or false")
    return text == "true"


def choice(options: Iterable[N]) -> Parser[N]:
    by_name = {str(option): option for option in options}
    wanted = "one of " + listing(list(by_name))

    def parse(value: Value) -> N:
        text = value.text(wanted)
        if text not in by_name:
            raise value.invalid(wanted, value.reading.suggest(text, by_name))
        return by_name[text]

    return parse


def each(parser: Parser[T | None], wanted: str) -> Parser[tuple[T, ...]]:
    """A list without repetitions; every bad item is reported."""

    def parse(value: Value) -> tuple[T, ...]:
        seen: dict[T, str] = {}
        for item in value.items(wanted):
            parsed = value.reading.attempt(item, parser, None)
            if parsed is None:
                continue
            if parsed in seen:
                item.report(f"the same as {seen[parsed]}", "every entry once")
            seen.setdefault(parsed, item.path)
        return tuple(seen)

    return parse


def at_most(most: int, what: str, parser: Parser[tuple[T, ...]]) -> Parser[tuple[T, ...]]:
    """A list of no more than `most` things; its entries are parsed all the same."""

    def parse(value: Value) -> tuple[T, ...]:
        parsed = parser(value)
        if len(parsed) > most:
            value.report(f"{len(parsed)} {what}", f"at most {most}")
        return parsed

    return parse


def peer_id(value: Value) -> str:
    return check_id(value, value.text(WANTED_ID))


def check_id(value: Value, text: str) -> str:
    if not _ID.fullmatch(text):
        lower = text.lower()
        advice = f"write {lower}" if _ID.fullmatch(lower) else ""
        raise value.invalid(WANTED_ID, advice)
    return text


def looks_like_id(text: str) -> bool:
    return _ID.fullmatch(text.lower()) is not None


def peer_name(value: Value) -> str:
    wanted = "a name of at most 63 letters, digits, dots, dashes and underscores"
    text = value.text(wanted)
    if not _NAME.fullmatch(text):
        raise value.invalid(wanted)
    if looks_like_id(text):
        raise value.invalid("a name that does not look like an id (10 hex digits)")
    return text


def device_name(longest: int = 15) -> Parser[str]:
    def parse(value: Value) -> str:
        return check_device(value, value.text("an interface name"), longest)

    return parse


def check_device(value: Value, text: str, longest: int = 15) -> str:
    """What the kernel accepts as an interface name."""
    wanted = f"an interface name: 1..{longest} bytes, no whitespace, slash, colon or percent sign"
    length = len(text.encode("utf-8", "replace"))
    unfit = not text.isprintable() or any(c.isspace() or c in "/:%" for c in text)
    if not 1 <= length <= longest or text in (".", "..") or unfit:
        raise value.invalid(wanted)
    return text


def link_name(value: Value) -> str:
    return check_link(value, value.text("an interface name"))


def check_link(value: Value, text: str) -> str:
    if text in value.reading.own_devices:
        raise value.invalid("another interface", f"{text} belongs to the bond itself")
    return check_device(value, text)


def interface_address(value: Value) -> Interface:
    wanted = "an address with its prefix length, such as 10.9.0.1/24"
    text = value.text(wanted)
    address = _with_prefix(text, value, wanted)
    interface = ip_interface(text)
    refuse_special(value, address)
    return interface


def network(value: Value) -> Network:
    wanted = "a network with its prefix length, such as 10.9.0.0/24"
    text = value.text(wanted)
    if "/" not in text and _is_address(text):
        raise value.invalid(wanted, f"write {text}/{ip_address(text).max_prefixlen} for one host")
    address = _with_prefix(text, value, wanted)
    meant = ip_network(text, strict=False)
    if meant.network_address != address:
        raise value.invalid("a network without host bits", f"did you mean {meant}?")
    return meant


def _with_prefix(text: str, value: Value, wanted: str) -> Address:
    try:
        address = ip_interface(text).ip
    except _BAD_ADDRESS:
        raise value.invalid(wanted) from None
    if not _PREFIX.fullmatch(text):
        raise value.invalid(wanted)
    return address


def _is_address(text: str) -> bool:
    try:
        return ip_address(text) is not None
    except ValueError:
        return False


def address(value: Value, text: str, wanted: str) -> Address:
    try:
        return ip_address(text)
    except ValueError:
        raise value.invalid(wanted) from None


def refuse_special(value: Value, address: Address) -> None:
    """Addresses that cannot be one host's on a network."""
    kinds = {
        "the unspecified address": address.is_unspecified,
        "a multicast address": address.is_multicast,
        "a loopback address": address.is_loopback,
        "the broadcast address": address == IPv4Address("255.255.255.255"),
    }
    for kind, applies in kinds.items():
        if applies:
            raise value.invalid("the address of a host", f"{address} is {kind}")
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        raise value.invalid("the address of a host", f"write {address.ipv4_mapped}")


def key_bytes(value: Value) -> bytes:
    """Never says what it found: a mistyped key is a key all the same."""
    text = value.text(WANTED_KEY)
    found = f"{len(text)} characters that are neither"
    try:
        key = bytes.fromhex(text) if re.fullmatch("[0-9a-fA-F]{64}", text) else _base64(text)
    except (ValueError, binascii.Error):
        raise value.invalid(WANTED_KEY, found=found) from None
    if len(key) != 32:
        raise value.invalid(WANTED_KEY, found=f"{len(key)} bytes")
    return key


def _base64(text: str) -> bytes:
    key = base64.b64decode(text.encode("ascii"), validate=True)
    if base64.b64encode(key).decode() != text:
        raise ValueError("stray bits behind the last byte")
    return key


def file_path(value: Value) -> str:
    """Absolute against the folder of the configuration file; existence is not looked at."""
    wanted = "the path of a file"
    text = value.text(wanted)
    if not text or not text.isprintable() or text.endswith("/"):
        raise value.invalid(wanted)
    if text.startswith("~"):
        raise value.invalid(wanted, "~ is not expanded; write the folder")
    return str(value.reading.folder / text)
