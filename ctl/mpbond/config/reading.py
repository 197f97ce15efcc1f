"""What reading one file has in hand: its values, its problems, its mappings.

A parser is a function from a `Value` to what it means; it raises `Invalid` for
the one thing wrong with it. Parsers of collections record the problems of their
parts and go on, so that all of them are reported at once.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from mpbond.config.nodes import Mapping, Node, Scalar, Sequence
from mpbond.config.quote import bare, join, listing, quote
from mpbond.errors import Problem

T = TypeVar("T")
D = TypeVar("D")
Parser = Callable[["Value"], T]

# Looking for near names is slow: a file of nothing but mistakes must not take minutes to refuse.
_MAX_SUGGESTIONS = 200
_MAX_CANDIDATES = 500

_NUMBER_OR_BOOL = re.compile(r"-?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?|true|false")


class Invalid(Exception):
    """One value that does not parse; caught by `Reading.attempt` only."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem


@dataclass(slots=True)
class Reading:
    """One reading of one file: what was found, and facts that values depend on."""

    file: str
    problems: list[Problem]
    warnings: list[tuple[int, str]] = field(default_factory=list)
    # Devices that are the bond itself and so cannot be its links.
    own_devices: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        return Path(self.file).absolute().parent

    def attempt(self, value: Value, parser: Parser[T], fallback: D) -> T | D:
        try:
            return parser(value)
        except Invalid as invalid:
            self.problems.append(invalid.problem)
            return fallback

    def suggest(self, name: str, known: Collection[str]) -> str:
        """Advice that names the nearest of `known`, or none."""
        if len(self.problems) >= _MAX_SUGGESTIONS or len(known) > _MAX_CANDIDATES or len(name) > 64:
            return ""
        by_lower = {str(candidate).lower(): candidate for candidate in known}
        matches = difflib.get_close_matches(name.lower(), by_lower, n=1)
        return f"did you mean {by_lower[matches[0]]}?" if matches else ""

    def warn(self, value: Value, text: str) -> None:
        place = f"{self.file}:{value.line}"
        self.warnings.append((value.line, f"{place}: {value.path}: {text}"))


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """A node and where it stands. `line` is where a reader would look for it."""

    reading: Reading
    node: Node
    path: str
    line: int

    def found(self) -> str:
        match self.node:
            case Mapping():
                return "a mapping"
            case Sequence():
                return "a list"
            case Scalar(text=text) if self.is_null():
                return "nothing"
            case Scalar(text=text, plain=plain):
                return bare(text) if plain else quote(text)

    def is_null(self) -> bool:
        node = self.node
        return isinstance(node, Scalar) and node.plain and node.text.lower() in ("", "~", "null")

    def plain_text(self, wanted: str) -> str:
        """The raw text of a scalar without quotes: a number or a boolean."""
        if not isinstance(self.node, Scalar) or self.is_null():
            raise self.invalid(wanted)
        if not self.node.plain:
            number = _NUMBER_OR_BOOL.fullmatch(self.node.text)
            raise self.invalid(wanted, "remove the quotes" if number else "")
        return self.node.text

    def text(self, wanted: str) -> str:
        """The raw text of any scalar: digits are as good as letters."""
        if not isinstance(self.node, Scalar) or self.is_null():
            raise self.invalid(wanted)
        return self.node.text

    def is_text(self) -> bool:
        return isinstance(self.node, Scalar) and not self.is_null()

    def items(self, wanted: str) -> Iterator[Value]:
        if not isinstance(self.node, Sequence):
            raise self.invalid(wanted)
        for index, node in enumerate(self.node.items):
            yield Value(self.reading, node, f"{self.path}[{index}]", node.line)

    def invalid(self, wanted: str, advice: str = "", found: str | None = None) -> Invalid:
        return Invalid(self.problem(found or self.found(), wanted, advice))

    def problem(self, found: str, wanted: str, advice: str = "") -> Problem:
        return Problem(self.line, self.path, found, wanted, advice)

    def report(self, found: str, wanted: str, advice: str = "") -> None:
        self.reading.problems.append(self.problem(found, wanted, advice))

    def warn(self, text: str) -> None:
        self.reading.warn(self, text)


class Section:
    """A mapping with known keys: each is taken once, the rest is unknown."""

    def __init__(self, value: Value, wanted: str = "a mapping") -> None:
        if not isinstance(value.node, Mapping):
            raise value.invalid(wanted, "write {} for none of its keys" if value.is_null() else "")
        self.value = value
        self.known: list[str] = []
        self.entries = {name: child for name, _, child in members(value)}
        self.keys = {name: key for name, key, _ in members(value)}

    def given(self, key: str) -> Value | None:
        return self.entries.get(key)

    def take(self, key: str, parser: Parser[T], fallback: D) -> T | D:
        """The value of an optional key, or `fallback`."""
        self.known.append(key)
        value = self.entries.get(key)
        return fallback if value is None else self.value.reading.attempt(value, parser, fallback)

    def need(self, key: str, parser: Parser[T], wanted: str, fallback: D) -> T | D:
        if key not in self.entries:
            path = join(self.value.path, key)
            problem = Problem(self.value.line, path, "no such key", wanted, "it is required")
            self.value.reading.problems.append(problem)
        return self.take(key, parser, fallback)

    def unknown(self) -> Iterator[tuple[str, Value]]:
        for name, value in self.entries.items():
            if name not in self.known:
                yield name, value

    def refuse_unknown(self) -> None:
        for name, _ in self.unknown():
            self.refuse_key(name)

    def refuse_key(self, name: str, advice: str = "") -> None:
        """`advice` says where a known key belongs; without it the nearest one here is named."""
        if name == "<<":
            advice = "merge keys are not read; repeat the entries"
        advice = advice or self.value.reading.suggest(name, self.known)
        wanted = f"one of the keys {listing(sorted(self.known))}"
        self.keys[name].report("an unknown key", wanted, advice)


def members(value: Value) -> Iterator[tuple[str, Value, Value]]:
    """(name, its key, what it has), for a mapping whose keys are the user's choice."""
    if not isinstance(value.node, Mapping):
        raise value.invalid("a mapping")
    for key, node in value.node.entries:
        # A collection may start on the line after its key, or far away at an anchor.
        line = node.line if isinstance(node, Scalar) else key.line
        path = join(value.path, key.text)
        yield key.text, Value(value.reading, key, path, key.line), Value(value.reading, node, path, line)
