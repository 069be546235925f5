"""Requests to the server from outside: as `curl` makes them, shown as a user types them, and timed as they arrive."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from common.errors import UserError

Line = Callable[[float, str], None]  # called with the seconds since the request was sent


@dataclass(frozen=True, slots=True)
class Call:
    """One request: GET where there is no body. A `str` body is sent as it is, JSON or not."""

    path: str
    body: dict[str, Any] | str | None = None
    status: bool = False  # have curl write the HTTP status behind the body

    @property
    def text(self) -> str:
        return self.body if isinstance(self.body, str) else json.dumps(self.body, ensure_ascii=False)

    def words(self, url: str) -> list[str]:
        """The curl command. -N: no buffer, so that each chunk is seen when it comes."""
        words = ["curl", "-sN" if self.streams else "-s", f"{url}{self.path}"]
        if self.status:
            words += ["-w", " [%{http_code}]\\n"]
        if self.body is not None:
            words += ["-H", "Content-Type: application/json", "-d", self.text]
        return words

    def typed(self, url: str) -> str:
        """The command as a shell takes it, the body on a line of its own."""
        words = self.words(url)
        at = words.index("-d") if "-d" in words else len(words)
        return " \\\n  ".join(shlex.join(part) for part in (words[:at], words[at:]) if part)

    @property
    def streams(self) -> bool:
        return isinstance(self.body, dict) and bool(self.body.get("stream"))


@dataclass(slots=True)
class Arrivals:
    """When the parts of an answer came, in seconds since the request was sent."""

    lines: list[tuple[float, str]] = field(default_factory=list)

    @property
    def first(self) -> float:
        return self.lines[0][0]

    @property
    def last(self) -> float:
        return self.lines[-1][0]


def curl(call: Call, url: str, on_line: Line) -> Arrivals:
    """Runs curl, or makes the same request through httpx where there is no curl, line by line as it arrives.

    Raises UserError where the server does not answer.
    """
    arrivals = Arrivals()
    lines = _curl_lines(call, url) if shutil.which("curl") else _httpx_lines(call, url)
    start = time.perf_counter()
    for line in lines:
        arrivals.lines.append((time.perf_counter() - start, line))
        on_line(*arrivals.lines[-1])
    if not arrivals.lines:
        raise UserError(f"no answer from {url}{call.path}")
    return arrivals


def _curl_lines(call: Call, url: str) -> Iterator[str]:
    # Below, not in the caller: nothing runs before the first line is asked for, so the clock is right.
    with subprocess.Popen(call.words(url), stdout=subprocess.PIPE, text=True, encoding="utf-8") as process:
        assert process.stdout
        for line in process.stdout:
            yield line.rstrip("\n")


def _httpx_lines(call: Call, url: str) -> Iterator[str]:
    method = "GET" if call.body is None else "POST"
    content = None if call.body is None else call.text
    headers = {"Content-Type": "application/json"}
    with httpx.stream(method, f"{url}{call.path}", content=content, headers=headers, timeout=None) as answer:
        yield from answer.iter_lines()
        if call.status:
            yield f"[{answer.status_code}]"


def payload(line: str) -> dict[str, Any] | None:
    """The chunk in a line of a stream; None for blank lines, `[DONE]` and errors."""
    data = line.removeprefix("data: ")
    if data == line or data == "[DONE]":
        return None
    chunk: dict[str, Any] = json.loads(data)
    return chunk if "choices" in chunk else None


def text_of(chunk: dict[str, Any]) -> str:
    """The new text in a chunk of either endpoint."""
    choice = chunk["choices"][0] if chunk["choices"] else {}
    text: str = choice.get("text") or choice.get("delta", {}).get("content") or ""
    return text
