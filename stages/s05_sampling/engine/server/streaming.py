"""Brings outputs from the engine's threads to the event loop, and makes server-sent events of them."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from ..engine import Engine, Output, Prompt
from ..sampler import SamplingParams
from .errors import ClientGone, stopping

T = TypeVar("T")


class Outputs:
    """The outputs of one HTTP request's choices in the order they come: (choice, output).

    The engine's iterators block, so each runs in a thread and hands over to the event loop.
    """

    def __init__(self, engine: Engine, threads: Executor):
        self.engine, self.threads = engine, threads
        self.ids: list[str] = []
        self.loop = asyncio.get_running_loop()
        self.queue: asyncio.Queue[tuple[int, Output | BaseException]] = asyncio.Queue()

    def open(self, prompt: Prompt, params: SamplingParams, request_id: str) -> None:
        """Starts one more choice. Raises what `engine.stream` raises for a request that can never be served."""
        choice = len(self.ids)
        outputs = self.engine.stream(prompt, params, request_id)
        self.ids.append(request_id)

        def put(item: Output | BaseException) -> None:
            self.loop.call_soon_threadsafe(self.queue.put_nowait, (choice, item))

        def work() -> None:
            try:
                for output in outputs:
                    put(output)
            except BaseException as e:
                put(e)

        self.threads.submit(work)

    async def __aiter__(self) -> AsyncIterator[tuple[int, Output]]:
        left = len(self.ids)
        while left:
            choice, item = await self.queue.get()
            if isinstance(item, BaseException):
                raise item
            if item.finish_reason == "abort":
                raise stopping()  # a client that hangs up aborts too, but then nobody reads this
            left -= item.finish_reason is not None
            yield choice, item

    def stop(self) -> None:
        """Ends the answer with an error, without waiting for the engine. Called in the event loop."""
        self.queue.put_nowait((0, stopping()))

    def close(self) -> None:
        """Ends whatever still runs: the client has everything, or has gone."""
        for request_id in self.ids:
            self.engine.abort(request_id)


async def in_daemon(work: Callable[[], T]) -> T:
    """Runs `work` in a thread that does not keep the process from ending: a model may take minutes to load."""
    done: Future[T] = Future()
    done.set_running_or_notify_cancel()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as e:
            done.set_exception(e)

    threading.Thread(target=run, daemon=True).start()
    return await asyncio.wrap_future(done)


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
        task.cancel()
        gone.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


class EventStream(StreamingResponse):
    """Server-sent events that close `outputs` however the response ends, sent or not."""

    def __init__(
        self,
        chunks: AsyncIterator[dict[str, Any]],
        outputs: Outputs,
        on_error: Callable[[Exception], dict[str, Any]],
    ):
        # Proxies would otherwise collect events until a buffer is full (nginx), or keep them for the next client.
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(events(chunks, on_error), media_type="text/event-stream", headers=headers)
        self.outputs = outputs

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.outputs.close()


async def events(
    chunks: AsyncIterator[dict[str, Any]], on_error: Callable[[Exception], dict[str, Any]]
) -> AsyncIterator[str]:
    """Chunks -> server-sent events. The status line has been sent already, so an error becomes an event too."""
    try:
        async for chunk in chunks:
            yield f"data: {json.dumps(chunk)}\n\n"
    except Exception as e:
        yield f"data: {json.dumps(on_error(e))}\n\n"
    yield "data: [DONE]\n\n"
