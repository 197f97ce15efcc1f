"""The pure C headers compiled for the host, with every warning and sanitiser on."""

from __future__ import annotations

import subprocess
from pathlib import Path

from mpbond.sources import bpf_dir

HERE = Path(__file__).parent
# `#pragma unroll` is for clang.
_WARNINGS = ("-Wall", "-Wextra", "-Wshadow", "-Werror", "-Wno-unknown-pragmas")
_FLAGS = ("-std=gnu11", "-O1", "-g", *_WARNINGS, f"-I{HERE}", f"-I{bpf_dir()}")
SANITISE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")


def compile_host(source: Path, into: Path, *flags: str) -> Path:
    program = into / source.stem
    command = ["cc", *_FLAGS, *flags, str(source), "-o", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return program


def run_host(program: Path, text: str = "") -> str:
    done = subprocess.run([str(program)], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
