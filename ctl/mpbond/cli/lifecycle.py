"""`mpbond up`, `run`, `down`, `plan`: bringing a bond up and taking it away."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
from pyroute2 import IPRoute

from mpbond import rundir
from mpbond.cli.options import FileArgument, RunDirOption, StateDirOption, say, warn
from mpbond.config import load_file
from mpbond.config.model import Config
from mpbond.controller import preview, secrets
from mpbond.controller.daemon import Daemon
from mpbond.controller.socket import ask
from mpbond.errors import BondError, UsageError
from mpbond.kernel import registry
from mpbond.rundir import RunDir, from_option
from mpbond.supported import refuse_unsupported

_DOWN_TIMEOUT_S = 20.0


def _load(file: str) -> Config:
    config = load_file(file)
    for warning in config.warnings:
        warn(warning)
    return config


def _require_root() -> None:
    if os.geteuid() != 0:
        raise BondError("this needs root: BPF programs and interfaces are made")


def plan(file: FileArgument) -> None:
    """Show what `up` would do on this host, and do nothing.

    Always the whole way, also where the bond is up already.

    Example: mpbond plan site.yaml
    """
    config = _load(file)
    refuse_unsupported(config)
    with IPRoute() as ipr:
        for line in preview.preview(config, ipr):
            say(line)


def up(file: FileArgument, run_dir: RunDirOption = None, state_dir: StateDirOption = None) -> None:
    """Bring the bond up and leave its controller running in the background.

    After the controller was killed, `up` adopts what it left: flows stay on their
    paths, counters go on. To apply a changed file, take the bond down first.

    Example: mpbond up /etc/mpbond/site.yaml
    """
    config = _load(file)
    refuse_unsupported(config)
    secrets.load(config)
    _require_root()
    folder = from_option(run_dir)
    name = config.interface.name
    pid = folder.owner(name)
    if pid is not None:
        raise BondError(f"{name} is up already (controller pid {pid}); `mpbond down {name}` first")
    folder.make()
    _start_in_background(file, folder, name, rundir.state_dir(state_dir, folder))


def _start_in_background(file: str, run_dir: RunDir, name: str, state: Path) -> None:
    """Starts `mpbond run`, repeats what it says until it is ready."""
    reader, writer = os.pipe()
    log = run_dir.log(name)
    with log.open("ab") as log_file:
        child = subprocess.Popen(
            [
                *(sys.executable, "-m", "mpbond", "run", str(Path(file).resolve())),
                *("--notify-fd", str(writer), "--run-dir", str(run_dir.path)),
                *("--state-dir", str(state.absolute())),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log_file,
            stderr=log_file,
            pass_fds=(writer,),
            start_new_session=True,
        )
    os.close(writer)
    ready = False
    with os.fdopen(reader, errors="replace") as lines:
        for line in lines:
            word, _, text = line.rstrip("\n").partition(" ")
            if word == "ready":
                ready = True
            else:
                say(text)
    if not ready:
        child.wait()
        raise BondError(f"{name} is not up; its controller's last words are in {log}")
    say(f"{name} is up (controller pid {child.pid}, log {log})")


def _stamp() -> str:
    """Local time with milliseconds: failovers are a matter of those."""
    now = time.time()
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(now))}.{int(now % 1 * 1000):03d}"


def run(
    file: FileArgument,
    run_dir: RunDirOption = None,
    state_dir: StateDirOption = None,
    notify_fd: Annotated[int | None, typer.Option("--notify-fd", hidden=True)] = None,
) -> None:
    """Bring the bond up and stay in the foreground.

    Ctrl-C or SIGTERM takes the bond down and ends it: what a service manager wants.

    Example: mpbond run /etc/mpbond/site.yaml
    """
    config = _load(file)
    _require_root()
    notify = os.fdopen(notify_fd, "w", buffering=1) if notify_fd is not None else None

    def tell(line: str) -> None:
        print(f"{_stamp()} {line}", flush=True)
        if notify is not None and not notify.closed:
            notify.write(f"say {line}\n")

    def ready() -> None:
        print(f"{config.interface.name} is up", flush=True)
        if notify is not None:
            notify.write("ready\n")
            notify.close()

    try:
        folder = from_option(run_dir)
        Daemon(config, folder, rundir.state_dir(state_dir, folder), tell).run(ready)
    except BondError as error:
        if notify is not None and not notify.closed:
            notify.writelines(f"say {line}\n" for line in str(error).splitlines())
        raise


def down(
    interface: Annotated[
        str | None, typer.Argument(metavar="[INTERFACE]", help="Which bond, where several are up: mp0, say.")
    ] = None,
    run_dir: RunDirOption = None,
) -> None:
    """Take the bond away: its interface, its programs on the links, its controller.

    Also cleans up after a controller that was killed. The name may be left out
    where only one bond is up.

    Example: mpbond down mp0
    """
    _require_root()
    folder = from_option(run_dir)
    with IPRoute() as ipr:
        name = _which(folder, ipr, interface)
        if name is None:
            say("no bond is up here: nothing to do")
            return
        _stop_controller(folder, name)
        removed = registry.remove(ipr, name)
    folder.remove(name)
    for left in removed:
        say(f"removed the {left.what} on {left.ifname}")
    say(f"{name} is down")


def _which(run_dir: RunDir, ipr: IPRoute, interface: str | None) -> str | None:
    running = [name for name in run_dir.interfaces() if run_dir.owner(name) is not None]
    present = list(dict.fromkeys(running + registry.bonds(ipr)))
    if interface is not None:
        if interface not in present:
            raise UsageError(f"no bond {interface} is up here; up: {', '.join(present) or 'none'}")
        return interface
    if len(present) > 1:
        raise UsageError(f"several bonds are up: {', '.join(present)}; say which")
    return present[0] if present else None


def _stop_controller(run_dir: RunDir, name: str) -> None:
    """Asks it to take the bond down, and waits until it has let go of its lock."""
    if run_dir.owner(name) is None:
        return
    # One that is ending already does not answer any more: then it is waited for.
    with suppress(BondError):
        ask(run_dir.socket(name), "down")
    deadline = time.monotonic() + _DOWN_TIMEOUT_S
    while (pid := run_dir.owner(name)) is not None:
        if time.monotonic() > deadline:
            raise BondError(
                f"the controller of {name} (pid {pid}) did not stop within {_DOWN_TIMEOUT_S:.0f} s"
            )
        time.sleep(0.02)
