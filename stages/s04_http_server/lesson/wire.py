"""Requests from outside: made with `curl`, shown as a user would type them, and timed as the answer arrives."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx

from common.errors import UserError
from common.terminal.shell import curl_lines, json_body

Line = Callable[[float, str], None]  # called with the seconds since the request was sent


@dataclass(frozen=True, slots=True)
class Call:
    """One request; without a body it is a GET. A `str` body is sent as it is, JSON or not."""

    path: str
    body: dict[str, Any] | str | None = None
    status: bool = False  # have curl write the HTTP status after the body

    @property
    def text(self) -> str:
        return self.body if isinstance(self.body, str) else json_body(self.body or {})

    def words(self, url: str) -> list[str]:
        """The curl command. -N: unbuffered, so that each chunk is seen when it arrives."""
        words = ["curl", "-sN" if self.streams else "-s", f"{url}{self.path}"]
        if self.status:
            words += ["-w", " [%{http_code}]\\n"]
        if self.body is not None:
            words += ["-H", "Content-Type: application/json", "-d", self.text]
        return words

    def typed(self, url: str) -> str:
        """The command as a shell takes it: the header and the body each on a line of its own."""
        return curl_lines(self.words(url))

    @property
    def streams(self) -> bool:
        return isinstance(self.body, dict) and bool(self.body.get("stream"))


@dataclass(slots=True)
class Arrivals:
    """When the parts of an answer arrived, in seconds since the request was sent."""

    lines: list[tuple[float, str]] = field(default_factory=list)

    @property
    def first(self) -> float:
        return self.lines[0][0]

    @property
    def last(self) -> float:
        return self.lines[-1][0]


def curl(call: Call, url: str, on_line: Line) -> Arrivals:
    """Runs curl, or makes the same request through httpx if there is no curl, line by line as it arrives.

    Raises UserError if the server does not answer.
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
    # Started here, not in the caller: nothing runs before the first line is asked for, so the clock is right.
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


def changes(value: Any, before: Any) -> str:
    """JSON of `value`, with `…` for what is the same in `before`."""
    if isinstance(value, dict) and isinstance(before, dict):
        parts: list[str] = []
        for name, inner in value.items():
            if name in before and before[name] == inner:
                parts += ["…"] * (parts[-1:] != ["…"])
            else:
                parts.append(f"{json.dumps(name)}: {changes(inner, before.get(name))}")
        return "{" + ", ".join(parts) + "}"
    if isinstance(value, list) and isinstance(before, list) and len(value) == len(before):
        return "[" + ", ".join(changes(one, other) for one, other in zip(value, before, strict=True)) + "]"
    return json.dumps(value, ensure_ascii=False)


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
