"""A stage's server as a process of its own: found, started on a free port, waited for, and always stopped."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO

import httpx

from common.bench.machine import ROOT
from common.errors import UserError
from common.tutorial.chain import parse_number

__all__ = ["running_server", "stage_number", "stage_package"]

START_SECONDS = 600.0  # a large checkpoint takes its time


def stage_number(text: str) -> int:
    """Raises UserError where it is no stage's number."""
    number = parse_number(text)
    if number is None:
        raise UserError(f"stage {text!r}: must be a number such as 06")
    return number


def stage_package(stage: str, part: str) -> str:
    """ "06", "engine.server" -> "stages.s06_request_queue.engine.server". Raises UserError where there is none."""
    number, path = stage_number(stage), part.replace(".", "/")
    depth = len(path.split("/"))
    files = ROOT.glob(f"stages/s[0-9][0-9]_*/{path}/__init__.py")
    found = {int(file.parents[depth].name[1:3]): file for file in files}
    if number not in found:
        there = ", ".join(f"{n:02d}" for n in sorted(found)) or "none"
        raise UserError(f"stage {stage}: has no {part}; stages with one: {there}")
    return ".".join(found[number].parent.relative_to(ROOT).parts)


@contextmanager
def running_server(stage: str, model: str, options: Sequence[str]) -> Iterator[str]:
    """Starts a stage's server and gives its URL once the model is loaded. Raises UserError with its own last words."""
    command = [
        sys.executable,
        "-u",
        "-m",
        stage_package(stage, "engine.server"),
        "--model",
        model,
        "--port",
        "0",
    ]
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [*command, *options],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,  # Ctrl-C in a terminal is for us; we tell the server when to stop
        )
        try:
            yield wait_until_ready(process, errors)
        finally:
            stop(process)


def wait_until_ready(process: subprocess.Popen[bytes], errors: IO[bytes]) -> str:
    url, deadline = read_url(process), time.monotonic() + START_SECONDS
    while url is not None and time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/health", timeout=10).status_code == 200:
                return url
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    stop(process)
    errors.seek(0)
    said = errors.read().decode(errors="replace").strip().splitlines()
    last = said[-1].removeprefix("error: ") if said else "it said nothing"
    raise UserError(f"the server did not start: {last}")


def read_url(process: subprocess.Popen[bytes]) -> str | None:
    """From the banner. None where the process ends before it printed one."""
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(rb"http://[^\s/]+:\d+", line):
            # What else it prints must not fill the pipe.
            threading.Thread(target=process.stdout.read, daemon=True).start()
            return found[0].decode()
    return None


def stop(process: subprocess.Popen[bytes]) -> None:
    for sign, patience in ((signal.SIGINT, 10), (signal.SIGTERM, 3)):
        if process.poll() is None:
            process.send_signal(sign)
            try:
                process.wait(patience)
            except subprocess.TimeoutExpired:
                continue
    if process.poll() is None:
        process.kill()
        process.wait()
