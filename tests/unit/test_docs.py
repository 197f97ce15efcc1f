"""What the documents say exists: blocks load, commands parse, names and links are there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mpbond import abi, connections, control_frames, handshake
from mpbond.cli.main import app
from mpbond.config import load_text
from mpbond.config.model import BasePolicy
from mpbond.policies import ASSIGN
from mpbond.snapshot import (
    BondSnapshot,
    KeySnapshot,
    PathSnapshot,
    PathViewSnapshot,
    PeerViewSnapshot,
    RateSnapshot,
)
from mpbond.supported import unsupported

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "bpf/README.md"]
OPERATIONS = (ROOT / "docs/operations.md").read_text()
POLICIES = (ROOT / "docs/policies.md").read_text()
_FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_INLINE = re.compile(r"`(mpbond [^`]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block; `kind` is its info string."""

    document: Path
    line: int
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"


def blocks(*kinds: str) -> list[Block]:
    return [
        Block(document, text.count("\n", 0, found.start()) + 1, found[1].strip(), found[2])
        for document in DOCUMENTS
        for text in [document.read_text()]
        for found in _FENCE.finditer(text)
        if found[1].strip() in kinds
    ]


def prose(document: Path) -> str:
    return _FENCE.sub("", document.read_text())


def anchors(document: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(document), re.MULTILINE)
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in kept}


def commands() -> Iterator[tuple[str, str]]:
    """(where, command line) of everything that is mpbond's: lines of shell blocks, and
    what stands between backquotes in the text."""
    for block in blocks("sh"):
        for line in block.text.splitlines():
            if found := re.search(r"(?:^|\s)(mpbond .*)$", line):
                yield str(block), found[1].split(" #")[0]
    for document in DOCUMENTS:
        for found in _INLINE.finditer(prose(document)):
            yield str(document.relative_to(ROOT)), " ".join(found[1].split())


def refused(words: list[str]) -> str:
    """What the command line is told; "" where it parses. Nothing is run: options and
    verbs are looked at first, then --help answers."""
    done = CliRunner().invoke(app, [*words, "--help"])
    return "" if done.exit_code == 0 else done.output


whole_yaml = blocks("yaml")


@pytest.mark.parametrize("block", whole_yaml, ids=str)
def test_whole_yaml_loads(block: Block) -> None:
    config = load_text(block.text)
    if block.document.name == "README.md":
        assert config.warnings == () and unsupported(config) == []


@pytest.mark.parametrize("block", blocks("yaml fragment"), ids=str)
def test_yaml_fragment_loads_with_the_keys_it_lacks(block: Block) -> None:
    load_text("node: {id: 0123456789}\npeers: {}\n" + block.text)


def test_blocks_say_what_they_are() -> None:
    """So that one cannot dodge these tests by a word that nobody reads."""
    kinds = {found[1].strip() for path in DOCUMENTS for found in _FENCE.finditer(path.read_text())}
    assert kinds - {""} <= {"sh", "yaml", "yaml fragment", "text", "ini"}


@pytest.mark.parametrize(("where", "line"), list(commands()), ids=lambda value: value)
def test_command_exists(where: str, line: str) -> None:
    words = shlex.split(re.split(r"[;|&>]", line)[0])[1:]
    assert refused(words) == "", f"{where}: {line}"


@pytest.mark.parametrize("line", ["mpbond frobnicate", "mpbond up --now x.yaml", "mpbond bond spin x"])
def test_a_command_that_does_not_exist_is_noticed(line: str) -> None:
    assert refused(shlex.split(line)[1:]) != ""


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {name for path in DOCUMENTS for name in re.findall(r"(?:^|`)make ([a-z]+)", path.read_text())}
    assert named <= targets


def section(text: str, heading: str) -> str:
    """What stands below a heading of the second level."""
    return text.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def first_cells(text: str) -> list[str]:
    """The names that open the rows of tables."""
    return re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)


def explained() -> list[str]:
    """The reasons that have a row: those of copies stand with the symptoms."""
    symptoms = (ROOT / "docs/troubleshooting.md").read_text()
    return first_cells(section(OPERATIONS, "Reasons")) + first_cells(
        section(symptoms, "Copies under broadcast")
    )


@pytest.mark.parametrize("name", [name for name, _ in abi.reasons().values()])
def test_every_reason_is_explained(name: str) -> None:
    assert name in explained()


def test_every_end_of_a_handshake_is_explained() -> None:
    assert set(first_cells(section(OPERATIONS, "Handshakes"))) == {*handshake.REASONS, "handshake_unsent"}


def test_what_becomes_of_connections_is_explained() -> None:
    assert set(first_cells(section(OPERATIONS, "Connections"))) == set(connections.REASONS)


def test_no_reason_is_explained_that_is_none() -> None:
    assert set(explained()) == {name for name, _ in abi.reasons().values()}


def test_every_end_of_a_control_frame_is_explained() -> None:
    assert set(first_cells(section(OPERATIONS, "Control frames"))) == {*control_frames.REASONS}


@pytest.mark.parametrize(
    "kind", [PathSnapshot, PathViewSnapshot, KeySnapshot, PeerViewSnapshot, RateSnapshot, BondSnapshot]
)
def test_every_field_is_explained(kind: type[Any]) -> None:
    missing = [field.name for field in fields(kind) if f"\n| `{field.name}` | " not in OPERATIONS]
    assert missing == []


@pytest.mark.parametrize("base", list(BasePolicy))
def test_policies_say_which_ones_run(base: BasePolicy) -> None:
    rows = re.findall(rf"^\| \[?`{base}`.*\|$", POLICIES, re.MULTILINE)
    assert len(rows) >= 1
    assert (" runs" in rows[0].split("|")[-2]) is (base in ASSIGN)


@pytest.mark.parametrize("base", [base for base in BasePolicy if base is not BasePolicy.NONE])
def test_every_policy_has_a_picture_an_example_and_its_use(base: BasePolicy) -> None:
    text = section(POLICIES, base)
    assert "```text\n" in text and f"basePolicy: {base}\n" in text
    assert re.search(r"^Use it ", text, re.MULTILINE)


def rows(text: str) -> dict[str, list[str]]:
    """Key -> all cells of its row but for what it does, which each document says in its
    own words: the last but one, with the example behind it."""
    found = re.findall(r"^\| (`\w+` \|.*) \|$", text, re.MULTILINE)
    cells = [re.split(r" *\| ", row) for row in found]
    return {row[0]: [*row[:-2], row[-1]] for row in cells}


def test_keys_of_policies_are_those_of_the_configuration() -> None:
    """The same types, ranges, defaults, base policies and examples in both documents."""
    whole = (ROOT / "docs/configuration.md").read_text()
    start, end = whole.index("### `settings.policies.NAME`"), whole.index("### `.redundant[]`")
    assert rows(section(POLICIES, "Every key")) == rows(whole[start:end])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_resolve(document: Path) -> None:
    for target in _LINK.findall(prose(document)):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (document.parent / name).resolve() if name else document
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_prose_is_wrapped(document: Path) -> None:
    """Tables and blocks have the width that they need."""
    lines = prose(document).splitlines()
    assert [line for line in lines if len(line) > 120 and not line.startswith("|")] == []


def test_readme_opens_with_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text()
    opening = text[: text.index("```sh")]
    assert len(opening) < 300, "the title and a sentence come first, nothing else"
    assert [line.split("#")[0].strip() for line in blocks("sh")[0].text.splitlines()] == [
        "make demo",
        "make test",
    ]
