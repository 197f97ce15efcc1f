"""The errors a user can meet, by what the user can do about them.

Nothing below the command line catches these and goes on; the command line
turns each into a message and an exit code, never into a traceback.
"""

from __future__ import annotations

from dataclasses import dataclass

EXIT_FAILED = 1
EXIT_USAGE = 2


class BondError(Exception):
    """Base of every error with a message meant for the user."""

    exit_code = EXIT_FAILED


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a configuration file.

    `line` counts from 1; 0 where the file as a whole is meant. `key` is the
    full dotted path of the key ("" for the whole file). `advice` says what to
    do, and is empty where `wanted` already does.
    """

    line: int
    key: str
    found: str
    wanted: str
    advice: str = ""

    def render(self, file: str) -> str:
        """`FILE:LINE: KEY: found X, wanted Y. Advice`, on one line."""
        place = f"{file}:{self.line}" if self.line else file
        key = f"{self.key}: " if self.key else ""
        tail = f"; {self.advice}" if self.advice else ""
        return f"{place}: {key}found {self.found}, wanted {self.wanted}{tail}"


class ConfigError(BondError):
    """A configuration file that cannot be used: all its problems at once."""

    exit_code = EXIT_USAGE

    def __init__(self, file: str, problems: tuple[Problem, ...]) -> None:
        self.file = file
        self.problems = problems
        super().__init__("\n".join(problem.render(file) for problem in problems))


class UsageError(BondError):
    """A command line that asks for something that is not there."""

    exit_code = EXIT_USAGE


class KernelError(BondError):
    """The kernel refused a step; `step` says which, in the user's words."""

    def __init__(self, step: str, errno: int, detail: str = "") -> None:
        import os

        self.step = step
        self.errno = errno
        reason = os.strerror(errno) if errno else "failed"
        super().__init__(f"{step}: {reason}" + (f" ({detail})" if detail else ""))


class Unsupported(BondError):
    """Valid, but not to be had here; `needs` says what would make it work."""

    exit_code = EXIT_USAGE

    def __init__(self, feature: str, needs: str) -> None:
        self.feature = feature
        self.needs = needs
        super().__init__(f"{feature}: {needs}")
