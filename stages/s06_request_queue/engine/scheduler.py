"""Decides which requests run. Knows requests, but no tensors; only the engine's thread calls it, except for `add`."""

from __future__ import annotations

import logging
from collections import deque

from common.errors import UserError

from .config import EngineConfig
from .request import Output, Request, Status
from .sampler import SamplerOutput

log = logging.getLogger("vitrine.engine")


class QueueFull(UserError):
    """Too many requests are waiting already."""


class Scheduler:
    """First come, first served, one request at a time."""

    def __init__(self, config: EngineConfig):
        self.config = config
        self.waiting: deque[Request] = deque()
        self.running: Request | None = None

    @property
    def is_finished(self) -> bool:
        return not self.waiting and not self.running

    def add(self, request: Request) -> None:
        """Puts a request at the end of the queue. Raises QueueFull."""
        if len(self.waiting) >= self.config.max_waiting:
            raise QueueFull(f"{len(self.waiting)} requests are waiting already; try again later")
        self.waiting.append(request)

    def schedule(self) -> Request:
        """The request whose turn it is: the running one until it is done, then the one that has waited longest."""
        if self.running is None:
            self.running = self.waiting.popleft()
            self.running.start()
        return self.running

    def postprocess(self, request: Request, out: SamplerOutput) -> list[Output]:
        """Hands drawn tokens to their requests. The only place where tokens reach the CPU."""
        return [self.write(request, request.num_tokens, int(out.tokens))]

    def write(self, request: Request, at: int, token: int) -> Output:
        """Puts a drawn token at position `at` of the request, which may finish or fail."""
        try:
            if token < 0:
                raise ValueError("the model's logits are not numbers (NaN)")
            text = request.write(at, token)
        except Exception as e:
            return self.fail(request, e)
        if request.done:
            self.remove(request)
        return request.output([token], text)

    def fail(self, request: Request, e: Exception) -> Output:
        log.error("request %s failed", request.id, exc_info=e)
        return self.end(request, Status.FAILED, "error", f"{type(e).__name__}: {e}")

    def end(self, request: Request, status: Status, reason: str, error: str | None = None) -> Output:
        """Ends a request from outside. Held-back text is dropped: flushing it might raise again."""
        request.finish(status, reason, error)
        self.remove(request)
        return request.output([], "")

    def remove(self, request: Request) -> None:
        if request in self.waiting:
            self.waiting.remove(request)
        elif request is self.running:
            self.running = None
