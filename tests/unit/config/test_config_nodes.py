"""What is wrong with the text as such."""

from __future__ import annotations

import pytest

from mpbond.config import load_text
from mpbond.config.nodes import MAX_ALIASED_NODES, MAX_BYTES, MAX_DEPTH
from mpbond.errors import ConfigError
from tests.unit.config.sample import HEAD, Bad, assert_bad, good, peer, problems, settings, top

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefg", "bcdefgh", strict=True)
)

ROWS = [
    Bad("", 0, "", ("an empty file", "node and peers")),
    Bad("# nothing\n\n", 0, "", ("an empty file",)),
    Bad("---\n", 0, "", ("an empty file",)),
    Bad("- a\n- b\n", 1, "", ("found a list", "a mapping with node")),
    Bad("hello", 1, "", ("found hello", "a mapping with node")),
    Bad("null", 1, "", ("found nothing", "a mapping with node")),
    Bad(f"{HEAD}---\nnode: {{}}\n", 3, "", ("a second document", "one document per file")),
    Bad("node:\n\tid: 1\n", 2, "node", ("broken syntax", "indent with spaces, not tabs")),
    Bad("node: {id: 1\npeers: {}\n", 2, "node", ("broken syntax", "valid YAML or JSON")),
    Bad("node: [}\n", 1, "node[0]", ("broken syntax",)),
    Bad("node: 'x\n", 1, "node", ("broken syntax", "unexpected end of stream")),
    Bad("a: b: c\n", 1, "", ("mapping values are not allowed here",)),
    Bad("node: {}\x00", 1, "", ("the character U+0000", "without control characters")),
    Bad("a: 1\nb: \x07\n", 2, "", ("the character U+0007",)),
    Bad('a: "\\UFFFFFFFF"\n', 1, "", ("an escape or number out of range",)),
    Bad("%YAML 9.0\n---\na: 1\n", 1, "", ("broken syntax", "incompatible YAML")),
    Bad(HEAD + "node: {}\n", 3, "node", ("a second time (first on line 1)", "every key once")),
    Bad(HEAD + "'peers': {}\n", 3, "peers", ("a second time (first on line 2)",)),
    Bad(
        settings("policies: {p: {basePolicy: broadcast}, p: {}}"), 3, "settings.policies.p", ("second time",)
    ),
    Bad(HEAD + "? [a]\n: b\n", 3, "", ("a list as a key", "a name as the key")),
    Bad(HEAD + "{a: b}: c\n", 3, "", ("a mapping as a key",)),
    Bad(HEAD + "interface: !!map {}\n", 3, "interface", ("the tag", "a value without a tag")),
    Bad("node: {id: !!str 0123456789}\npeers: {}\n", 1, "node.id", ("the tag",)),
    Bad("node: !!python/object/apply:os.system [x]\n", 1, "node", ("the tag",)),
    Bad("a: &x [*x]\n", 1, "a[0]", ('"*x" inside what it stands for', "an alias that ends")),
    Bad("a: &x {b: {c: *x}}\n", 1, "a.b.c", ('"*x" inside',)),
    Bad("a: *x\n", 1, "a", ('"*x" without an anchor before it',)),
    Bad("a: &x 1\nb: &x 2\n", 2, "b", ("a second time",)),
    Bad(BOMB, 5, "e[7]", ("aliases that stand for too many values", str(MAX_ALIASED_NODES))),
    Bad("[" * 100_000, 1, "[0]" * (MAX_DEPTH - 1) + "[0]", ("deeper than 32 levels",)),
    Bad("{a: " * 100_000, 1, ".".join("a" * MAX_DEPTH), ("deeper than 32 levels",)),
    Bad("\n".join(" " * i + "a:" for i in range(100)), 33, ".".join("a" * MAX_DEPTH), ("deeper than",)),
    Bad("- " * 5_000, 1, "[0]" * MAX_DEPTH, ("deeper than 32 levels",)),
    Bad("#" * (MAX_BYTES + 1), 0, "", ("a longer text", "at most 1048576 bytes")),
    Bad(top("settings: {<<: {}}"), 3, 'settings."<<"', ("an unknown key", "merge keys are not read")),
    Bad(top("'a\\nb': 1\n"), 3, r'"a\\nb"', ("an unknown key",)),
    Bad(top('"a\\nb\\u2028": 1\n'), 3, r'"a\nb\u2028"', ("an unknown key",)),
    Bad(top("'': 1\n"), 3, '""', ("an unknown key",)),
    Bad("node: {id: \ud800}\n", 1, "", ("the character U+D800",)),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.fragments[0])
def test_unusable_text(row: Bad) -> None:
    assert_bad(row)


def test_crlf_and_last_line_without_break_count_right() -> None:
    (problem,) = problems("node: {id: 0123456789}\r\npeers: {}\r\nnod: 1")
    assert (problem.line, problem.key) == (3, "nod")


@pytest.mark.parametrize("text", ["{a: 1}", '{"a": 1}', "a: 1", '{\n\t"a":\t1\n}'])
def test_yaml_and_json_of_every_dress(text: str) -> None:
    assert {problem.key for problem in problems(text)} == {"a", "node", "peers"}


def test_json_indented_with_tabs_loads() -> None:
    text = '{\n\t"node": {"id": "0123456789"},\n\t"peers":\t{\n\t}\n}\n'
    assert good(text).node.id == "0123456789"


@pytest.mark.parametrize("ident", ["0123456789", "1234567890", "12345678e9", "0000000000", "0777777777"])
def test_ids_of_digits_need_no_quotes(ident: str) -> None:
    config = good(f"node: {{id: {ident}}}\npeers: {{}}\n")
    assert config.node.id == ident
    text = peer("").replace("0123456789", "ffffffffff").replace("abcdef0123", ident)
    text += f"settings: {{peerSpecificBonds: {{{ident}: broadcast}}}}\n"
    (only,) = good(text).peers
    assert (only.id, only.policy.name) == (ident, "broadcast")


def test_aliases_share_values() -> None:
    text = settings("policies: {a: &a {basePolicy: broadcast, upDelay: 7}, b: *a}")
    assert [(one.name, one.up_delay_ms) for one in good(text).policies] == [("a", 7), ("b", 7)]


def test_problem_in_shared_value_points_at_where_it_is_written() -> None:
    text = (
        f"{HEAD}settings:\n  policies:\n    a: &a\n      basePolicy: broadcast\n      upDelay: x\n    b: *a\n"
    )
    assert [(one.line, one.key) for one in problems(text)] == [
        (7, "settings.policies.a.upDelay"),
        (7, "settings.policies.b.upDelay"),
    ]


def test_problems_are_in_the_order_of_the_file() -> None:
    lines = [one.line for one in problems("peers: 1\nx: 2\nnode: {}\nnode: 3\napi: 4\n")]
    assert lines == sorted(lines)
    assert len(lines) == 5


def test_error_text_has_a_line_per_problem() -> None:
    with pytest.raises(ConfigError) as caught:
        load_text("x: 1\n", "bond.yaml")
    lines = str(caught.value).splitlines()
    assert len(lines) == len(caught.value.problems) == 3
    assert all(line.startswith("bond.yaml:1: ") for line in lines)


def test_file_of_unknown_keys_is_refused_in_reasonable_time() -> None:
    text = "{" + ",".join(f"connectionPriority{number}: 1" for number in range(3000)) + "}"
    assert len(problems(text)) == 3002
