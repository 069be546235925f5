"""Runs the commands that articles quote, and makes their output the same on every run and machine.

What changes from run to run is replaced by `…`, visibly: `12.3 ms` becomes `… ms`. The list is CHANGING.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

WIDTH = 88
TIME_LIMIT_S = 180
_UNITS = r"ns|µs|us|ms|s|seconds|(?:tokens|tok|requests|req|GB|MB|GiB|TFLOP|GFLOP)/s|ms/token|ms per token"
CHANGING: tuple[tuple[str, str], ...] = (
    (r"\x1b\[[0-9;?]*[A-Za-z]", ""),  # colours and cursor movements of programs that ignore NO_COLOR
    (r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?(Z|[+-]\d\d:?\d\d)?", "…"),
    (r"\b\d\d:\d\d:\d\d\b", "…"),
    (r"(127\.0\.0\.1|localhost|0\.0\.0\.0):[3-6]\d{4}\b", r"\1:…"),  # ephemeral ports; 8000 stays
    (r"\b((?:chat)?cmpl|req)-[0-9a-f]{6,}", r"\1-…"),
    (r"/tmp/[\w./-]+", "/tmp/…"),
    (rf"(?<![\w.])\d[\d,]*(\.\d+)?(e-?\d+)?(?=[ \u00a0]?({_UNITS})\b)", "…"),
    (r"(?<![\w.])\d+(\.\d+)?(?=[x×](?![\w]))", "…"),  # a measured ratio
)


@dataclass(frozen=True, slots=True)
class Run:
    """A command line with what is wanted of it."""

    command: str
    exit_code: int = 0
    timeout_s: float = TIME_LIMIT_S


@dataclass(frozen=True, slots=True)
class Output:
    lines: list[str]
    error: str = ""  # why this is no good output; empty when it is


def run_all(runs: list[Run], root: Path, jobs: int = 2) -> dict[Run, Output]:
    """Run each distinct command once, `jobs` at a time."""
    distinct = list(dict.fromkeys(runs))
    with ThreadPoolExecutor(jobs) as pool:
        return dict(zip(distinct, pool.map(lambda run: execute(run, root), distinct), strict=True))


def environment() -> dict[str, str]:
    """No colour, a fixed width, no network, one thread, and this Python, first in PATH and for make."""
    fixed = {"COLUMNS": str(WIDTH), "LINES": "50", "NO_COLOR": "1", "TERM": "dumb", "HF_HUB_OFFLINE": "1"}
    fixed |= {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    inherited = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "FORCE_COLOR")}
    fixed |= {"VENV": "none", "PYTHON": sys.executable}  # make uses this Python and installs nothing
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return inherited | fixed | {"PATH": path}


def execute(run: Run, root: Path) -> Output:
    """Run in `root` through bash; stdout and stderr in one, as a terminal shows them."""
    try:
        done = subprocess.run(
            ["bash", "-c", run.command],
            cwd=root,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=run.timeout_s,
        )
    except subprocess.TimeoutExpired:
        return Output([], f"`{run.command}` did not end within {run.timeout_s:g} s")
    lines = clean(done.stdout.decode("utf-8", "replace"), root)
    if done.returncode != run.exit_code:
        tail = lines[-1] if lines else "no output"
        return Output(lines, f"`{run.command}` ended with {done.returncode}, not {run.exit_code}: {tail}")
    return Output(lines)


def clean(text: str, root: Path, masks: tuple[str, ...] = ()) -> list[str]:
    """Output as lines, without trailing blanks, with everything that changes shown as `…`."""
    text = text.replace(str(root), ".").replace(str(Path.home()), "~")
    for pattern, replacement in CHANGING + tuple((mask, "…") for mask in masks):
        text = re.sub(pattern, replacement, text)
    lines = [line.split("\r")[-1].rstrip() for line in text.replace("\r\n", "\n").split("\n")]
    lines = [line for line in lines if not re.match(r"make(\[\d+\])?: (Entering|Leaving) directory", line)]
    while lines and not lines[-1]:
        lines.pop()
    while lines and not lines[0]:
        lines.pop(0)
    return lines


def same(left: list[str], right: list[str]) -> bool:
    """Equal but for spacing and rules, which move with the width of a number that is hidden."""
    return canonical(left) == canonical(right)


def canonical(lines: list[str]) -> list[str]:
    squeezed = (re.sub(r"([─━═╌-])\1+", r"\1", re.sub(r"[ \t]+", " ", line)) for line in lines)
    return [line.strip() for line in squeezed]
