"""The control socket: one JSON line asked, one answered. Root only, by its mode.

Both halves are here, so that what one writes is what the other reads.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from mpbond.errors import EXIT_USAGE, BondError, UsageError

_MAX_REQUEST = 1 << 16
_TIMEOUT_S = 10.0

Handler = Callable[[dict[str, Any]], Any]


class ControlServer:
    """Answers on a thread of its own; handlers are called one at a time."""

    def __init__(self, path: Path, handlers: dict[str, Handler]) -> None:
        self._handlers = handlers
        self._path = path
        path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            self._socket.bind(str(path))
        except OSError as error:
            self._socket.close()
            raise BondError(f"cannot listen on {path}: {error.strerror or error}") from error
        finally:
            os.umask(before)
        self._socket.listen(16)
        self._thread = threading.Thread(target=self._serve, name="control", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                connection.settimeout(_TIMEOUT_S)
                connection.sendall(self._answer(_read_line(connection)))

    def _answer(self, line: bytes) -> bytes:
        try:
            request = json.loads(line)
            call = request["call"]
            handler = self._handlers.get(call)
        except (ValueError, TypeError, KeyError, RecursionError):
            return _line({"error": "a request is one JSON object with a `call`"})
        if handler is None:
            return _line({"error": f"unknown call {call!r}"})
        try:
            return _line({"result": handler(request)})
        except BondError as error:
            return _line({"error": str(error), "exit_code": error.exit_code})
        except Exception as error:  # a mistake of ours: the log has it whole, the thread lives on
            traceback.print_exc()
            return _line({"error": f"{call}: {type(error).__name__}: {error}"})

    def close(self) -> None:
        self._path.unlink(missing_ok=True)
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def _line(data: dict[str, Any]) -> bytes:
    return json.dumps(data).encode() + b"\n"


def _read_line(connection: socket.socket) -> bytes:
    data = b""
    while not data.endswith(b"\n") and len(data) < _MAX_REQUEST:
        part = connection.recv(_MAX_REQUEST)
        if not part:
            break
        data += part
    return data


def ask(path: Path, call: str, **arguments: Any) -> Any:
    """One question to a running controller. Raises BondError with its answer, as a
    UsageError where it was one in there: the exit code is the same."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_TIMEOUT_S)
        try:
            connection.connect(str(path))
            connection.sendall(_line({"call": call, **arguments}))
            with connection.makefile("rb") as stream:
                line = stream.readline()
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise BondError(f"no controller answers on {path}: is the bond up? (`mpbond up FILE`)") from error
        except PermissionError as error:
            raise BondError(f"{path} is for root only") from error
        except OSError as error:
            raise BondError(f"the controller on {path} does not answer: {error}") from error
    if not line:
        raise BondError("the controller closed the connection")
    try:
        answer = json.loads(line)
        if "error" in answer:
            raise (UsageError if answer.get("exit_code") == EXIT_USAGE else BondError)(answer["error"])
        return answer["result"]
    except (ValueError, TypeError, KeyError) as error:
        raise BondError(f"the controller on {path} answers nonsense: {line[:80]!r}") from error
