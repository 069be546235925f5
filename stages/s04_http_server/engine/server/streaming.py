"""Between the engine's threads and the event loop, and from outputs to server-sent events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from fastapi import Request

from ..engine import Engine, Output, Prompt
from ..sampler import SamplingParams

T = TypeVar("T")


class Bridge:
    """Runs the engine's blocking iterators in threads, so that nothing blocks the event loop."""

    def __init__(self, max_threads: int = 64):
        self.threads = ThreadPoolExecutor(max_threads, thread_name_prefix="request")

    async def open(
        self, engine: Engine, prompt: Prompt, params: SamplingParams, request_id: str
    ) -> AsyncIterator[Output]:
        """Hands a request to the engine -> its outputs. Raises what `engine.stream` raises, before the first of them."""
        loop = asyncio.get_running_loop()
        outputs = await loop.run_in_executor(self.threads, engine.stream, prompt, params, request_id)
        queue: asyncio.Queue[Output | BaseException | None] = asyncio.Queue()

        def put(item: Output | BaseException | None) -> None:
            loop.call_soon_threadsafe(queue.put_nowait, item)

        def work() -> None:
            try:
                for output in outputs:
                    put(output)
                put(None)
            except BaseException as e:
                put(e)

        async def drain() -> AsyncIterator[Output]:
            self.threads.submit(work)
            try:
                while (item := await queue.get()) is not None:
                    if isinstance(item, BaseException):
                        raise item
                    yield item
            finally:
                engine.abort(request_id)  # the client may have gone

        return drain()


class ClientGone(Exception):
    """Nobody is left to answer."""


async def unless_disconnected(request: Request, work: Awaitable[T]) -> T:
    """Waits for `work`, and cancels it when the client hangs up. Raises ClientGone."""

    async def hang_up() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(hang_up())
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone
        return task.result()
    finally:
        for t in (task, gone):
            t.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def events(
    chunks: AsyncIterator[dict[str, Any]], on_error: Callable[[Exception], dict[str, Any]]
) -> AsyncIterator[str]:
    """Chunks -> server-sent events. The status line is out already, so an error becomes an event too."""
    try:
        async for chunk in chunks:
            yield f"data: {json.dumps(chunk)}\n\n"
    except Exception as e:
        yield f"data: {json.dumps(on_error(e))}\n\n"
    yield "data: [DONE]\n\n"
