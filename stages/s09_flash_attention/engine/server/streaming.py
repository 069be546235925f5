"""Brings outputs from the engine's threads to the event loop, and makes server-sent events of them."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, TypeVar

from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from ..engine import Engine
from ..request import Output
from ..sampler import SamplingParams
from .errors import ClientGone, stopping

T = TypeVar("T")


class Mailbox:
    """From the engine's thread to one event loop: many outputs at once wake the loop only once."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.items: deque[tuple[Outputs, int, Output]] = deque()
        self.emptying = False  # a call to `empty` is on its way

    def put(self, outputs: Outputs, choice: int, output: Output) -> None:
        """Called in the engine's thread."""
        self.items.append((outputs, choice, output))
        if not self.emptying:
            self.emptying = True
            self.loop.call_soon_threadsafe(self.empty)

    def empty(self) -> None:
        """Called in the event loop."""
        self.emptying = False  # first: what arrives after the last `popleft` then causes another call
        while self.items:
            outputs, choice, output = self.items.popleft()
            outputs.take(choice, output)


class Outputs:
    """The outputs of one HTTP request's choices in the order they come: (choice, output).

    What has come since the reader last looked is merged into one output per choice: a reader that is slower than the
    engine gets fewer and larger pieces, instead of falling further and further behind.
    """

    def __init__(self, engine: Engine, mailbox: Mailbox):
        self.engine, self.mailbox = engine, mailbox
        self.ids: list[str] = []
        self.pending: list[tuple[int, Output]] = []
        self.arrived = asyncio.Event()
        self.stopped = False

    def open(self, tokens: list[int], params: SamplingParams, request_id: str) -> None:
        """Queues one more choice. Raises what `engine.add` raises."""
        choice = len(self.ids)

        def put(output: Output) -> None:
            self.mailbox.put(self, choice, output)

        self.engine.add(tokens, params, request_id, put)
        self.ids.append(request_id)

    def take(self, choice: int, output: Output) -> None:
        self.pending.append((choice, output))
        self.arrived.set()

    async def __aiter__(self) -> AsyncIterator[tuple[int, Output]]:
        left = len(self.ids)
        while left:
            await self.arrived.wait()
            self.arrived.clear()
            pending, self.pending = self.pending, []
            for choice, output in merged(pending):
                if output.error:
                    raise RuntimeError(output.error)
                # A client that hangs up aborts too, but then nobody reads this.
                if self.stopped or output.finish_reason == "abort":
                    raise stopping()
                left -= output.finish_reason is not None
                yield choice, output
            if self.stopped and left:
                raise stopping()

    def stop(self) -> None:
        """Ends the answer with an error, without waiting for the engine. Called in the event loop."""
        self.stopped = True
        self.arrived.set()

    def close(self) -> None:
        """Ends whatever still runs: the client has everything, or has gone."""
        for request_id in self.ids:
            self.engine.abort(request_id)


def merged(pending: Sequence[tuple[int, Output]]) -> Iterator[tuple[int, Output]]:
    """One output per choice, with all its tokens and text; the last one says how it ended."""
    by_choice: dict[int, list[Output]] = {}
    for choice, output in pending:
        by_choice.setdefault(choice, []).append(output)
    for choice, outputs in by_choice.items():
        tokens = [token for output in outputs for token in output.tokens]
        yield choice, replace(outputs[-1], tokens=tokens, text="".join(output.text for output in outputs))


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
