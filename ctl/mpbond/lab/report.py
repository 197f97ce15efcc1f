"""What a scenario tells its audience: steps, commands, and claims that are checked.

A claim is printed with what was wanted, and held against it: a scenario that shows
something that was not so says so, and fails.
"""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.panel import Panel
from rich.syntax import Syntax
from rich.text import Text

from mpbond.errors import BondError

WIDTH = 80
_INDENT = "   "
# Where the words of a claim begin, after its mark.
_BELOW = " " * 10


@dataclass(frozen=True, slots=True)
class Claim:
    """`seen`: what happened, in words with numbers; `wanted`: what had to."""

    seen: str
    wanted: str
    holds: bool


class Report:
    """Prints in order, 80 columns, and remembers which claims did not hold."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or _console()
        self.claims: list[Claim] = []

    def step(self, number: int, words: str) -> None:
        self.console.print(Text(f"\n{number}. {words}", style="bold"))

    def say(self, words: str) -> None:
        """A paragraph below its step."""
        self._lines(words, _INDENT)

    def command(self, host: str, argv: Sequence[str]) -> None:
        """As it would be typed on that host."""
        self.console.print(Text(f"   {host}# {shlex.join(argv)}", style="cyan"))

    def output(self, text: str) -> None:
        """What a command printed, as it is."""
        self.console.print(Text(text.rstrip("\n")), soft_wrap=True)

    def file(self, name: str, text: str) -> None:
        shown = Syntax(text.rstrip("\n"), "yaml", background_color="default", word_wrap=True)
        self.console.print(Panel(shown, title=name, title_align="left", width=min(WIDTH, self.console.width)))

    def check(self, claim: Claim) -> None:
        self.claims.append(claim)
        mark = Text("ok    ", style="green") if claim.holds else Text("FAILED", style="bold red")
        first, *rest = self._wrapped(claim.seen, len(_BELOW))
        self.console.print(Text(_INDENT) + mark + Text(f" {first}"), soft_wrap=True)
        for line in rest:
            self.console.print(Text(_BELOW + line), soft_wrap=True)
        for line in self._wrapped(f"wanted: {claim.wanted}", len(_BELOW)):
            self.console.print(Text(_BELOW + line, style="dim"), soft_wrap=True)

    def _wrapped(self, words: str, indent: int) -> list[str]:
        return textwrap.wrap(" ".join(words.split()), self.console.width - indent - 1, break_on_hyphens=False)

    def _lines(self, words: str, indent: str) -> None:
        for line in self._wrapped(words, len(indent)):
            self.console.print(Text(indent + line), soft_wrap=True)

    def finish(self) -> None:
        """Raises BondError naming every claim that did not hold."""
        failed = [claim for claim in self.claims if not claim.holds]
        if failed:
            raise BondError(
                f"{len(failed)} of {len(self.claims)} claims did not hold:\n"
                + "\n".join(f"  {claim.seen}; wanted: {claim.wanted}" for claim in failed)
            )
        self.console.print(f"\nAll {len(self.claims)} claims held.")


def _console() -> Console:
    found = Console(highlight=False)
    return found if found.width <= WIDTH else Console(highlight=False, width=WIDTH)
