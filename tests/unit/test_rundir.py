"""Who holds an interface: locks among living, dead and other processes."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mpbond.errors import BondError
from mpbond.rundir import DEFAULT, ENVIRONMENT, Lock, RunDir, from_option

# Takes the lock, says so, and waits for its end.
_HOLDER = """
import sys
from pathlib import Path
from mpbond.rundir import Lock, RunDir
lock = Lock(RunDir(Path(sys.argv[1])), "mp0")
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds mp0."""
    command = [sys.executable, "-c", _HOLDER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.fixture
def run_dir(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path / "run" / "mpbond")


def test_nobody_holds_what_nobody_took(run_dir: RunDir) -> None:
    assert run_dir.owner("mp0") is None
    assert run_dir.interfaces() == []


def test_one_that_is_ending_is_still_named(run_dir: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files go before its lock does: `down` looks right then."""
    lock = Lock(run_dir, "mp0")
    real = fcntl.flock

    def unlinked_meanwhile(fd: object, how: int) -> None:
        run_dir.remove("mp0")
        real(fd, how)  # type: ignore[call-overload]

    monkeypatch.setattr(fcntl, "flock", unlinked_meanwhile)
    assert run_dir.owner("mp0") == os.getpid()
    lock.release()


def test_whoever_holds_it_is_named(run_dir: RunDir) -> None:
    lock = Lock(run_dir, "mp0")
    assert run_dir.owner("mp0") == os.getpid()
    assert run_dir.owner("mp1") is None
    lock.release()
    assert run_dir.owner("mp0") is None


def test_a_second_controller_is_refused_and_told_of_the_first(run_dir: RunDir) -> None:
    lock = Lock(run_dir, "mp0")
    with pytest.raises(BondError) as caught:
        Lock(run_dir, "mp0")
    assert str(caught.value) == (
        f"mp0 has a controller already (pid {os.getpid()}); `mpbond down mp0` stops it"
    )
    assert run_dir.owner("mp0") == os.getpid()
    lock.release()


def test_another_interface_is_free(run_dir: RunDir) -> None:
    locks = [Lock(run_dir, name) for name in ("mp1", "mp0")]
    assert run_dir.interfaces() == ["mp0", "mp1"]
    for lock in locks:
        lock.release()


def test_asking_takes_nothing(run_dir: RunDir) -> None:
    Lock(run_dir, "mp0").release()
    assert run_dir.owner("mp0") is None
    Lock(run_dir, "mp0").release()


def test_another_process_and_its_death(run_dir: RunDir) -> None:
    """SIGKILL: nothing is tidied up, but the kernel lets go of the lock."""
    with holder(run_dir.path) as process:
        assert run_dir.owner("mp0") == process.pid
        with pytest.raises(BondError, match=f"pid {process.pid}"):
            Lock(run_dir, "mp0")
        process.kill()
        process.wait()
        assert run_dir.owner("mp0") is None
        assert run_dir.interfaces() == ["mp0"]  # its file is there still
        lock = Lock(run_dir, "mp0")
        assert run_dir.owner("mp0") == os.getpid()
        lock.release()


def test_a_longer_pid_leaves_no_digits_behind(run_dir: RunDir) -> None:
    run_dir.make()
    run_dir.lock_file("mp0").write_text("99999999999999")
    lock = Lock(run_dir, "mp0")
    assert run_dir.lock_file("mp0").read_text() == str(os.getpid())
    lock.release()


def test_a_holder_that_has_not_written_its_pid_yet(run_dir: RunDir) -> None:
    lock = Lock(run_dir, "mp0")
    run_dir.lock_file("mp0").write_text("")
    assert run_dir.owner("mp0") == 0
    with pytest.raises(BondError, match=r"\(pid \?\)"):
        Lock(run_dir, "mp0")
    lock.release()


def test_the_folder_is_for_its_owner_alone(run_dir: RunDir) -> None:
    run_dir.make()
    run_dir.make()
    Lock(run_dir, "mp0").release()
    assert stat.S_IMODE(run_dir.path.stat().st_mode) == 0o700
    assert stat.S_IMODE(run_dir.lock_file("mp0").stat().st_mode) == 0o600


def test_remove_takes_the_files_of_one_interface(run_dir: RunDir) -> None:
    run_dir.make()
    kept = [run_dir.log("mp0"), run_dir.socket("mp1"), run_dir.lock_file("mp1")]
    for file in (run_dir.socket("mp0"), run_dir.lock_file("mp0"), *kept):
        file.touch()
    run_dir.remove("mp0")
    run_dir.remove("mp0")
    assert sorted(run_dir.path.iterdir()) == sorted(kept)


def test_where_the_folder_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """An option, else the environment, else the default; an empty one is none."""
    monkeypatch.setenv(ENVIRONMENT, "/from/environment")
    assert from_option("/from/option").path == Path("/from/option")
    assert from_option(None).path == Path("/from/environment")
    monkeypatch.setenv(ENVIRONMENT, "")
    assert from_option(None).path == Path(DEFAULT)
    monkeypatch.delenv(ENVIRONMENT)
    assert from_option(None).path == Path(DEFAULT)
