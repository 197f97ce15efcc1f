"""YAML text -> nodes that know their line, and nothing of what they mean.

Owns everything that is wrong with the text as such: syntax, encoding, duplicate
keys, tags, aliases that never end, nesting without end. A scalar keeps its raw
text, because YAML's own types would make 0123456789 an octal number and
12345678e9 a float where an id is meant. The tree is built from parser events
with a stack of its own, so no input can exhaust Python's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NoReturn

import yaml

from mpbond.config.quote import join, printable, quote
from mpbond.errors import ConfigError, Problem

MAX_BYTES = 1 << 20
# The deepest legal key lies eight levels down.
MAX_DEPTH = 32
# A file of MAX_BYTES has fewer nodes than a bomb of aliases has in a few lines.
MAX_ALIASED_NODES = 100_000

_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")


@dataclass(frozen=True, slots=True, eq=False)
class Scalar:
    line: int
    text: str
    plain: bool  # written without quotes


@dataclass(frozen=True, slots=True, eq=False)
class Sequence:
    line: int
    items: tuple[Node, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Mapping:
    line: int
    entries: tuple[tuple[Scalar, Node], ...]


Node = Scalar | Sequence | Mapping


def parse(text: str, file: str) -> tuple[Node, list[Problem]]:
    """The root node and what is wrong but leaves a tree to check further."""
    try:
        return _Builder(text).build()
    except _Unreadable as stop:
        raise ConfigError(file, (stop.problem,)) from None


class _Unreadable(Exception):
    def __init__(self, problem: Problem) -> None:
        self.problem = problem


class _Loader(yaml.SafeLoader):
    """PyYAML's scanner and parser; its composer and constructor are not used."""

    def scan_to_next_token(self) -> None:
        # JSON may be indented with tabs; PyYAML refuses them everywhere.
        super().scan_to_next_token()
        while self.flow_level and self.peek() == "\t":
            self.forward()
            super().scan_to_next_token()


@dataclass(slots=True)
class _Frame:
    """A collection being read."""

    line: int
    path: str
    anchor: str | None
    is_mapping: bool
    size: int = 1
    items: list[Node] = field(default_factory=list)
    entries: list[tuple[Scalar, Node]] = field(default_factory=list)
    key: Scalar | None = None
    drop_value: bool = False
    seen: dict[str, int] = field(default_factory=dict)

    def node(self) -> Node:
        if self.is_mapping:
            return Mapping(self.line, tuple(self.entries))
        return Sequence(self.line, tuple(self.items))

    def child_path(self) -> str:
        if not self.is_mapping:
            return f"{self.path}[{len(self.items)}]"
        return join(self.path, self.key.text) if self.key else self.path


class _Builder:
    def __init__(self, text: str) -> None:
        self.text = text
        self.lines = _count_lines(text)
        self.frames: list[_Frame] = []
        self.anchors: dict[str, tuple[Node, int]] = {}
        self.aliased_nodes = 0
        self.problems: list[Problem] = []
        self.root: Node | None = None

    def build(self) -> tuple[Node, list[Problem]]:
        try:
            self._read_events()
        except yaml.reader.ReaderError as error:
            self._refuse_character(error)
        except yaml.MarkedYAMLError as error:
            self._refuse_syntax(error)
        if self.root is None or (isinstance(self.root, Scalar) and self.root.text == ""):
            _stop(0, "an empty file", "a configuration with at least node and peers")
        return self.root, self.problems

    def _read_events(self) -> None:
        loader = _Loader(self.text)
        try:
            while loader.check_event():
                event: yaml.Event = loader.get_event()  # type: ignore[no-untyped-call]
                self._on_event(event)
        except (ValueError, OverflowError):
            # PyYAML passes on what chr() and int() raise for absurd escapes and versions.
            line = self._clamp(loader.get_mark().line)
            _stop(line, "an escape or number out of range", "valid YAML or JSON")

    def _on_event(self, event: yaml.Event) -> None:
        match event:
            case yaml.DocumentStartEvent() if self.root is not None:
                line = self._line(event)
                _stop(line, "a second document", "one document per file")
            case yaml.AliasEvent():
                self._on_alias(event)
            case yaml.ScalarEvent():
                plain = event.style is None
                node = Scalar(self._line(event), event.value, plain)
                self._check_tag(event.tag, node.line)
                self._finish(node, 1, event.anchor)
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                self._open(event)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                frame = self.frames.pop()
                self._finish(frame.node(), frame.size, frame.anchor)
            case _:
                pass  # stream and document marks

    def _open(self, event: yaml.MappingStartEvent | yaml.SequenceStartEvent) -> None:
        line = self._line(event)
        if len(self.frames) >= MAX_DEPTH:
            _stop(line, f"nesting deeper than {MAX_DEPTH} levels", "at most that", self._path())
        self._check_tag(event.tag, line)
        is_mapping = isinstance(event, yaml.MappingStartEvent)
        self.frames.append(_Frame(line, self._path(), event.anchor, is_mapping))

    def _on_alias(self, event: yaml.AliasEvent) -> None:
        line = self._line(event)
        name = quote(f"*{event.anchor}")
        if any(frame.anchor == event.anchor for frame in self.frames):
            _stop(line, f"{name} inside what it stands for", "an alias that ends", self._path())
        if event.anchor not in self.anchors:
            _stop(line, f"{name} without an anchor before it", "a known alias", self._path())
        node, size = self.anchors[event.anchor]
        self.aliased_nodes += size
        if self.aliased_nodes > MAX_ALIASED_NODES:
            wanted = f"at most {MAX_ALIASED_NODES}"
            _stop(line, "aliases that stand for too many values", wanted, self._path())
        self._finish(node, size, None)

    def _finish(self, node: Node, size: int, anchor: str | None) -> None:
        """A node is whole: put it where it belongs."""
        if anchor is not None:
            if anchor in self.anchors:
                _stop(node.line, f"the anchor {quote('&' + anchor)} a second time", "one", self._path())
            self.anchors[anchor] = (node, size)
        if not self.frames:
            self.root = node
            return
        frame = self.frames[-1]
        frame.size += size
        if not frame.is_mapping:
            frame.items.append(node)
        elif frame.key is None:
            self._take_key(frame, node)
        else:
            if not frame.drop_value:
                frame.entries.append((frame.key, node))
            frame.key = None

    def _take_key(self, frame: _Frame, node: Node) -> None:
        frame.drop_value = True
        if not isinstance(node, Scalar):
            found = "a mapping as a key" if isinstance(node, Mapping) else "a list as a key"
            self.problems.append(Problem(node.line, frame.path, found, "a name as the key"))
            frame.key = Scalar(node.line, "?", plain=True)
            return
        frame.key = node
        frame.drop_value = node.text in frame.seen
        first = frame.seen.setdefault(node.text, node.line)
        if frame.drop_value:
            path = join(frame.path, node.text)
            found = f"the key a second time (first on line {first})"
            self.problems.append(Problem(node.line, path, found, "every key once"))

    def _check_tag(self, tag: str | None, line: int) -> None:
        if tag is not None:
            found = f"the tag {quote(tag)}"
            self.problems.append(Problem(line, self._path(), found, "a value without a tag"))

    def _path(self) -> str:
        return self.frames[-1].child_path() if self.frames else ""

    def _line(self, event: yaml.Event) -> int:
        return self._clamp(event.start_mark.line) if event.start_mark else 0

    def _clamp(self, index: int) -> int:
        """A mark at the very end counts as on the last line."""
        return min(index + 1, self.lines)

    def _refuse_character(self, error: yaml.reader.ReaderError) -> NoReturn:
        line = len(_LINE_BREAK.findall(self.text, 0, error.position)) + 1
        code = error.character if isinstance(error.character, int) else ord(error.character[:1])
        _stop(line, f"the character U+{code:04X}", "text without control characters")

    def _refuse_syntax(self, error: yaml.MarkedYAMLError) -> NoReturn:
        mark = error.problem_mark or error.context_mark
        what = printable(error.problem or error.context or "syntax error", limit=120)
        tab = "\\t" in what
        advice = "indent with spaces, not tabs" if tab else ""
        line = self._clamp(mark.line) if mark else 0
        _stop(line, f"broken syntax ({what})", "valid YAML or JSON", self._path(), advice)


def _count_lines(text: str) -> int:
    breaks = _LINE_BREAK.findall(text)
    unfinished = not _LINE_BREAK.fullmatch(text[-1:])
    return max(1, len(breaks) + unfinished)


def _stop(line: int, found: str, wanted: str, key: str = "", advice: str = "") -> NoReturn:
    raise _Unreadable(Problem(line, key, found, wanted, advice))
