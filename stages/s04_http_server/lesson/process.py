"""The stage's server as a process of its own, started as a user would start it: its address, its states, its end.

Requests to it are in `wire`. Checking the checkpoint and the flags is left to the server.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from common.bench.results import ROOT
from common.errors import UserError

MODULE = f"{__package__.rpartition('.')[0]}.engine.server"
STARTING = "not listening yet"


def server_flags(model: str, device: str, dtype: str) -> list[str]:
    """Flags of the server. A folder is given as an absolute path: the server may run in another directory."""
    folder = Path(model).expanduser()
    return [
        "--model",
        str(folder.resolve()) if folder.is_dir() else model,
        "--device",
        device,
        "--dtype",
        dtype,
    ]


class LiveServer:
    """`with LiveServer(flags) as server:` serves `server.model` at `server.url`. On leaving, it is stopped as by Ctrl-C."""

    def __init__(self, flags: Sequence[str], port: int = 0):
        self.command = [sys.executable, "-m", MODULE, *flags, "--port", str(port)]
        self.url, self.model, self.banner = "", "", ""
        self.exit_code: int | None = None
        self.before: Any = None

    def __enter__(self) -> LiveServer:
        """Returns as soon as the server listens, which is before its model is loaded."""
        if threading.current_thread() is threading.main_thread():
            # A SIGTERM to us must end the server too; without this it would outlive us.
            self.before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        self.started = time.perf_counter()
        self.errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        self.process = subprocess.Popen(
            self.command, cwd=ROOT, stdout=subprocess.PIPE, stderr=self.errors, text=True, encoding="utf-8"
        )
        try:
            self.banner = "".join(self._banner()).strip()
            found = re.search(r"serves (.+) at (http://\S+)", self.banner)
            if not found:
                raise self.failure()
            self.model, self.url = found.groups()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _banner(self) -> Iterator[str]:
        """What the server prints before it serves, up to the last `curl` example."""
        assert self.process.stdout
        calls = 0
        for line in self.process.stdout:
            yield line
            calls += line.startswith("curl")
            if calls == 3 and not line.strip():
                return

    def states(self) -> Iterator[tuple[float, str]]:
        """(seconds since the start, what /health says) whenever that changes, up to "200 ok".

        Raises UserError with the server's own reason if it ends instead.
        """
        last = ""
        with httpx.Client(base_url=self.url, timeout=30) as client:
            while not last.startswith("200"):
                if self.process.poll() is not None:
                    raise self.failure()
                state = health(client)
                if state != last:
                    yield time.perf_counter() - self.started, state
                last = state
                time.sleep(0.005)

    def wait_ready(self) -> float:
        """Seconds from the start of the process until it answers requests."""
        return list(self.states())[-1][0]

    def failure(self) -> UserError:
        """Why the server ended, in its own words."""
        code = self.process.wait(10)
        self.errors.seek(0)
        lines = [line for line in self.errors.read().splitlines() if line.strip()]
        reason = lines[-1].removeprefix("error: ") if lines else f"it ended with {code}"
        return UserError(f"the server did not start: {reason}")

    def stop(self) -> float:
        """Ends the process as Ctrl-C does. Returns the seconds it took; `exit_code` says how it went."""
        began = time.perf_counter()
        if self.before is not None:
            signal.signal(signal.SIGTERM, self.before)
            self.before = None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT if sys.platform != "win32" else signal.SIGTERM)
            try:
                # It stops at once, but Python itself may need a while on a busy machine.
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.exit_code = self.process.returncode
        assert self.process.stdout
        self.process.stdout.close()
        self.errors.close()
        return time.perf_counter() - began


def health(client: httpx.Client) -> str:
    """The status of /health in words, such as "503 loading"."""
    try:
        answer = client.get("/health")
    except httpx.TransportError:
        return STARTING
    body: Any = answer.json()
    return f"{answer.status_code} {body['status']}"
