"""The parent's end of `worker`: starts a process, hands it a task, and gets an answer whatever happens to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from types import TracebackType
from typing import IO, Any, Protocol

from common.bench.machine import ROOT

__all__ = ["Pool", "Workers"]


class Workers(Protocol):
    """What asks somebody to do a task."""

    def ask(self, task: dict[str, Any]) -> dict[str, Any]: ...


class Pool:
    """Asks a fresh process each time, or (`keep`) the same one. Use as a context: leaving it ends the process."""

    def __init__(self, keep: bool, threads: int | None = None):
        self.keep, self.threads = keep, threads
        self.process: subprocess.Popen[str] | None = None
        self.said: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115

    def ask(self, task: dict[str, Any]) -> dict[str, Any]:
        """The answer; {"failed": why} where the process ended without one."""
        process = self.process or self._start()
        assert process.stdin and process.stdout
        line = ""
        try:
            process.stdin.write(json.dumps(task) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except BrokenPipeError:
            pass
        if not line:
            process.wait()
            failed = {"failed": f"its process ended with status {process.returncode}{self._last_words()}"}
            self.end()
            return failed
        if not self.keep:
            self.end()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def end(self) -> None:
        """Ends the process, in the middle of whatever it does."""
        process, self.process = self.process, None
        if process is None:
            return
        process.kill()
        for stream in (process.stdin, process.stdout):
            try:
                if stream:
                    stream.close()
            except BrokenPipeError:  # a task that nobody read
                pass
        process.wait()

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
        self.said.close()

    def _start(self) -> subprocess.Popen[str]:
        environ = dict(os.environ)
        if self.threads:
            environ["OMP_NUM_THREADS"] = str(self.threads)  # for those that do not ask torch
        self.said.seek(0)
        self.said.truncate()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.ladder.worker"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.said, text=True, encoding="utf-8", cwd=ROOT,
            env=environ, start_new_session=True,  # Ctrl-C is the parent's to answer
        )  # fmt: skip
        return self.process

    def _last_words(self) -> str:
        self.said.seek(0)
        lines = [line.strip() for line in self.said.read().splitlines() if line.strip()]
        return f": {lines[-1][:200]}" if lines else ""
