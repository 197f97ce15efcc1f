"""bpf/window.h and bpf/siphash.h on the host, under ASan and UBSan."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests.bpf.host import HERE, SANITISE, compile_host, run_host
from tests.bpf.siphash_ref import siphash24

SIZE = 64
Window = Callable[[Iterable[int]], list[bool]]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_host(HERE / "pure.c", tmp_path_factory.mktemp("host"), *SANITISE)


@pytest.fixture
def window(program: Path) -> Window:
    def feed(sequences: Iterable[int]) -> list[bool]:
        lines = run_host(program, "reset\n" + "".join(f"window {number:x}\n" for number in sequences))
        return [line.startswith("1") for line in lines.splitlines()]

    return feed


LAST = 2**32 - 1
# Row, what it shows, sequence numbers and whether each is accepted.
ROWS: list[tuple[int, str, list[tuple[int, bool]]]] = [
    (1, "the first, whatever it is", [(12345, True)]),
    (2, "zero as the first", [(0, True), (0, False)]),
    (3, "the very last number as the first", [(LAST, True), (LAST, False)]),
    (4, "in order", [(1, True), (2, True), (3, True)]),
    (5, "twice", [(1, True), (1, False), (1, False)]),
    (6, "late, once", [(10, True), (8, True), (8, False), (9, True)]),
    (7, "the oldest that fits", [(100, True), (37, True), (37, False)]),
    (8, "one older than fits", [(100, True), (36, False)]),
    (9, "a jump of 63 keeps the first", [(1, True), (64, True), (1, False)]),
    (10, "a jump of 64 leaves it behind", [(1, True), (65, True), (1, False)]),
    (11, "a jump of 64 clears the window", [(1, True), (65, True), (2, True), (2, False)]),
    (12, "a jump far ahead", [(1, True), (1_000_000, True), (999_937, True), (999_936, False)]),
    (13, "wrap-around by one", [(LAST, True), (0, True), (LAST, False), (0, False)]),
    (14, "late across the wrap-around", [(5, True), (LAST, True), (LAST, False), (0, True)]),
    (15, "the oldest that fits, across", [(10, True), (LAST - 52, True), (LAST - 53, False)]),
    (16, "half the numbers ahead is ahead", [(0, True), (2**31 - 1, True), (0, False)]),
    (17, "half the numbers behind is behind", [(0, True), (2**31, False)]),
    (18, "one more than half behind", [(0, True), (2**31 + 1, False)]),
    (19, "a flood of the same from long ago", [(500, True), *[(1, False)] * 70]),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]} {row[1]}")
def test_rows(window: Window, row: tuple[int, str, list[tuple[int, bool]]]) -> None:
    assert window(number for number, _ in row[2]) == [accepted for _, accepted in row[2]]


def simple_window(sequences: Iterable[int]) -> list[bool]:
    """What window_accept() means, by a set: for numbers that do not wrap."""
    seen: set[int] = set()
    result = []
    for number in sequences:
        fits = not seen or number > max(seen) - SIZE
        result.append(fits and number not in seen)
        seen |= {number} if fits else set()
    return result


@pytest.mark.parametrize("spread", [3, 40, 90, 400])
@pytest.mark.parametrize("start", [1000, LAST - 1500])
def test_against_a_set(window: Window, start: int, spread: int) -> None:
    """Random lateness and loss; the second start wraps around half-way."""
    rng = random.Random(spread)
    wandering = [max(0, step + rng.randint(-spread, spread)) for step in range(3000)]
    accepted = window((start + number) % 2**32 for number in wandering)
    assert accepted == simple_window(wandering)
    assert 0 < sum(accepted) < len(accepted)


def test_siphash(program: Path) -> None:
    rng = random.Random(1)
    rows = [rng.randbytes(64) for _ in range(200)]
    words = [[int.from_bytes(row[at : at + 8], "little") for at in range(0, 64, 8)] for row in rows]
    lines = run_host(
        program, "".join("siphash " + " ".join(f"{word:x}" for word in row) + "\n" for row in words)
    )
    ours = [int(line, 16).to_bytes(8, "little") for line in lines.splitlines()]
    assert ours == [siphash24(row[:16], row[16:]) for row in rows]
