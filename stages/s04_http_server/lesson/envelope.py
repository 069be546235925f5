"""The least that a token's way to its reader costs: JSON, one hand-over between threads, one trip through a socket.

Each part is timed alone, in an idle process. The article explains what the server needs beyond their sum.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from typing import Any

CHUNK: dict[str, Any] = {
    "id": "cmpl-" + "0" * 32, "object": "text_completion", "created": 1_700_000_000, "model": "storyteller",
    "choices": [{"index": 0, "text": " fox", "logprobs": None, "finish_reason": None}], "usage": None,
}  # fmt: skip


def to_json(times: int) -> list[float]:
    """Seconds to make an event of a chunk."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        f"data: {json.dumps(CHUNK)}\n\n".encode()
        seconds.append(time.perf_counter() - start)
    return seconds


def hand_over(times: int) -> list[float]:
    """Seconds from `call_soon_threadsafe` in one thread until the waiting event loop of another has the item."""

    async def receive() -> list[float]:
        loop, queue = asyncio.get_running_loop(), asyncio.Queue[float]()

        def send() -> None:
            for _ in range(times):
                time.sleep(0.001)  # the loop has gone to sleep again, as between two tokens
                loop.call_soon_threadsafe(queue.put_nowait, time.perf_counter())

        thread = threading.Thread(target=send)
        thread.start()
        seconds = []
        for _ in range(times):
            sent = await queue.get()
            seconds.append(time.perf_counter() - sent)
        thread.join()
        return seconds

    return asyncio.run(receive())


def socket_trip(times: int) -> list[float]:
    """Seconds for an event to pass through a local TCP connection to a thread that waits for it."""
    event = f"data: {json.dumps(CHUNK)}\n\n".encode()
    seconds: list[float] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with client, accepted:
        sent = 0.0

        def read() -> None:
            for _ in range(times):
                left = len(event)
                while left:
                    left -= len(accepted.recv(left))
                seconds.append(time.perf_counter() - sent)

        thread = threading.Thread(target=read)
        thread.start()
        for count in range(times):
            time.sleep(0.001)
            while len(seconds) < count:  # the event before is still on its way
                time.sleep(0.001)
            sent = time.perf_counter()
            client.sendall(event)
        thread.join()
    return seconds


def parts(times: int) -> dict[str, list[float]]:
    """Name -> seconds of each of `times` trials."""
    return {"json": to_json(times), "hand_over": hand_over(times), "socket": socket_trip(times)}
