"""How long the next request waits for a long answer: one that is read to its end, and one whose reader hangs up."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

import httpx

BEFORE = 5  # chunks that the first client reads before the second one asks


@dataclass(frozen=True, slots=True)
class Waits:
    """Seconds that a one-token request took when it came after a long one."""

    behind_a_reader: float
    behind_a_hang_up: float


def compare(url: str, body: dict[str, Any]) -> Waits:
    """Measures both waits. body: a completion, long enough to be waited for."""
    return Waits(behind(url, body, hang_up=False), behind(url, body, hang_up=True))


def behind(url: str, body: dict[str, Any], hang_up: bool) -> float:
    """Seconds of a one-token request, sent when the first client has some chunks of its long answer.

    hang_up: whether the first client then closes its connection, or reads on to the end.
    """
    address = f"{url}/v1/completions"
    reading, gone = threading.Event(), threading.Event()

    def first_client() -> None:
        try:
            with httpx.stream("POST", address, json=body | {"stream": True}, timeout=None) as answer:
                chunks = (line for line in answer.iter_lines() if line)
                for count, _ in enumerate(chunks, start=1):
                    if count == BEFORE:
                        reading.set()
                        if hang_up:
                            break
        finally:  # an answer with fewer chunks, or none, must not leave the second client waiting
            reading.set()
            gone.set()

    thread = threading.Thread(target=first_client)
    thread.start()
    reading.wait()
    if hang_up:
        gone.wait()
    start = time.perf_counter()
    answer = httpx.post(address, json=body | {"max_tokens": 1}, timeout=None)
    seconds = time.perf_counter() - start
    answer.raise_for_status()
    thread.join()
    return seconds
