"""Clients from outside: curl, or httpx if there is no curl. Each reads a stream to its end, or hangs up earlier."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from common.terminal.shell import curl_lines, json_body


@dataclass(slots=True)
class Client:
    """One request over HTTP, in its own thread from `start` on."""

    name: str
    url: str
    body: dict[str, Any]
    hang_up_after: int | None = None  # chunks
    text: str = ""
    chunks: int = 0
    hung_up: float = 0.0  # seconds of time.perf_counter; 0: it did not
    error: str = ""
    thread: threading.Thread = field(init=False)

    def start(self) -> None:
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    @property
    def command(self) -> list[str]:
        """-N: no buffer, so that each chunk is seen as it arrives."""
        body = json_body(self.body)
        words = ["curl", "-sN", f"{self.url}/v1/completions"]
        return [*words, "-H", "Content-Type: application/json", "-d", body]

    @property
    def typed(self) -> str:
        """The command as typed in a shell, with the body on its own line."""
        return curl_lines(self.command)

    def _read(self) -> None:
        lines = self._curl() if shutil.which("curl") else self._httpx()
        for line in lines:
            if line.startswith("data: {"):
                self._take(json.loads(line.removeprefix("data: ")))
            if self.hang_up_after and self.chunks >= self.hang_up_after:
                self.hung_up = time.perf_counter()
                lines.close()  # type: ignore[attr-defined]
                return

    def _take(self, chunk: dict[str, Any]) -> None:
        if "error" in chunk:
            self.error = chunk["error"]["message"]
        for choice in chunk.get("choices", []):
            self.text += choice["text"]
            self.chunks += 1

    def _curl(self) -> Iterator[str]:
        with subprocess.Popen(
            self.command, stdout=subprocess.PIPE, text=True, encoding="utf-8", errors="replace"
        ) as process:
            assert process.stdout
            try:
                yield from process.stdout
            finally:
                process.kill()  # the connection goes with the process

    def _httpx(self) -> Iterator[str]:
        with httpx.stream("POST", f"{self.url}/v1/completions", json=self.body, timeout=None) as answer:
            yield from answer.iter_lines()
