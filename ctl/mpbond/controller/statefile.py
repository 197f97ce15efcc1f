"""What outlives a controller and its host: the minutes of each path, in a small file.

Losing it costs nothing but memory of the past, so no trouble with it stops a bond.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

VERSION = 1
# So many paths' minutes at most, those seen last; a file must not grow for ever.
MOST_PATHS = 20_000


class StateFile:
    """`<folder>/<interface>.json`. `say` hears of what cannot be read or written, of the
    same trouble once."""

    def __init__(self, folder: Path, interface: str, say: Callable[[str], None]) -> None:
        self.path = folder / f"{interface}.json"
        self._say = say
        self._said = ""
        self._writing = threading.Lock()

    def load(self) -> dict[str, str]:
        """Name of a path -> its minutes. What is damaged is put aside."""
        try:
            return _minutes(json.loads(self.path.read_bytes()))
        except FileNotFoundError:
            return {}
        except OSError as error:
            self._tell(f"cannot read {self.path}: {error.strerror}; paths start without a history")
        except (ValueError, RecursionError) as error:
            aside = self.path.with_suffix(".damaged")
            self._tell(f"{self.path} is damaged ({error}): kept as {aside.name}, begun anew")
            self._try(lambda: _void(self.path.replace(aside)))
        return {}

    def save(self, minutes: Mapping[str, str]) -> None:
        """Whole or not at all."""
        kept = dict(list(minutes.items())[-MOST_PATHS:])
        text = json.dumps({"version": VERSION, "minutes": kept}, indent=0)

        def write() -> None:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            made = self.path.with_suffix(".new")
            with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            made.replace(self.path)

        with self._writing:
            self._try(write)

    def _try(self, what: Callable[[], None]) -> None:
        try:
            what()
            self._said = ""
        except OSError as error:
            self._tell(f"cannot write {self.path}: {error.strerror}; what paths did is not kept")

    def _tell(self, text: str) -> None:
        if text != self._said:
            self._said = text
            self._say(text)


def _void(_: object) -> None:
    """For calls whose result nobody wants."""


def _minutes(data: Any) -> dict[str, str]:
    """Raises ValueError where it is not what `save` writes."""
    if not isinstance(data, dict) or data.get("version") != VERSION:
        raise ValueError(f"no version {VERSION} of it")
    minutes = data.get("minutes")
    if not isinstance(minutes, dict) or not all(isinstance(marks, str) for marks in minutes.values()):
        raise ValueError("no minutes in it")
    return minutes
