"""The server under load: whether /health still answers at once, and how long several clients wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from .wire import payload

PAUSE = 0.01  # seconds between two questions


def ask_health(client: httpx.Client, go_on: Callable[[int], bool]) -> list[float]:
    """Seconds of each GET /health, one after the other, while `go_on(how many so far)`."""
    seconds: list[float] = []
    while go_on(len(seconds)):
        start = time.perf_counter()
        client.get("/health").raise_for_status()
        seconds.append(time.perf_counter() - start)
        time.sleep(PAUSE)
    return seconds


def health_while_generating(client: httpx.Client, body: dict[str, Any]) -> list[float]:
    """Seconds of each GET /health from the first chunk of a stream to its last."""
    began, ended = threading.Event(), threading.Event()

    def generate() -> None:
        try:
            with client.stream("POST", "/v1/completions", json=body | {"stream": True}) as answer:
                answer.raise_for_status()
                for _ in answer.iter_raw():  # bytes only: this process should disturb as little as possible
                    began.set()
        finally:
            began.set()
            ended.set()

    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(generate)
        began.wait()
        seconds = ask_health(client, lambda asked: not ended.is_set())
        work.result()
    return seconds


def first_chunks(client: httpx.Client, body: dict[str, Any], clients: int) -> list[float]:
    """Seconds until each of `clients`, which ask at the same moment, has its first chunk; sorted."""
    line_up = threading.Barrier(clients)

    def ask(_: int) -> float:
        line_up.wait()
        start, first = time.perf_counter(), 0.0
        with client.stream("POST", "/v1/completions", json=body | {"stream": True}) as answer:
            answer.raise_for_status()
            for line in answer.iter_lines():
                if payload(line) and not first:
                    first = time.perf_counter() - start
        return first

    with ThreadPoolExecutor(clients) as pool:
        return sorted(pool.map(ask, range(clients)))
