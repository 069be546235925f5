"""Decides which requests run. Knows requests, but no tensors; only the engine's thread calls it, except for `add`."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque

from common.errors import UserError

from .batch import Batch, Scheduled
from .config import EngineConfig
from .request import Output, Request, Status
from .sampler import SamplerOutput

log = logging.getLogger("vitrine.engine")


class QueueFull(UserError):
    """Too many requests are waiting already."""


class Scheduler:
    """Static batching: the requests that wait start together, and the next ones start when all of them are done."""

    def __init__(self, config: EngineConfig):
        assert config.max_num_seqs  # settled by `fit`
        self.config = config
        self.max_num_seqs = config.max_num_seqs
        self.waiting: deque[Request] = deque()
        # One batch, in the order of its cache rows. A finished request stays until all are done.
        self.running: list[Request] = []
        self.arrival = threading.Event()

    @property
    def is_finished(self) -> bool:
        return not self.waiting and not self.running

    def add(self, request: Request) -> None:
        """Puts a request at the end of the queue. Raises QueueFull."""
        if len(self.waiting) >= self.config.max_waiting:
            raise QueueFull(f"{len(self.waiting)} requests are waiting already; try again later")
        self.waiting.append(request)
        self.arrival.set()

    def schedule(self) -> Batch:
        """Chooses the tokens of the next step. They count as computed from now on, which is true once the step has run."""
        if not self.running:
            self.start_batch()
        scheduled = []
        for request in self.running:
            # The row of a finished request is computed again with its last token.
            start = min(request.num_computed_tokens, request.num_tokens - 1)
            scheduled.append(Scheduled(request, start, request.num_tokens - start, request.num_tokens))
            request.num_computed_tokens = request.num_tokens
        return Batch(scheduled)

    def start_batch(self) -> None:
        """Waits until the batch is full, or its first request has waited for `batch_wait` seconds; then starts it."""
        until = self.waiting[0].arrived + self.config.batch_wait
        while len(self.waiting) < self.max_num_seqs and (left := until - time.perf_counter()) > 0:
            self.arrival.wait(left)
            # Cleared before the queue is looked at again: a request that arrives in between sets it once more.
            self.arrival.clear()
        self.running = [self.waiting.popleft() for _ in range(min(len(self.waiting), self.max_num_seqs))]
        for row, request in enumerate(self.running):
            request.cache_row = row
            request.start()

    def postprocess(self, batch: Batch, out: SamplerOutput) -> list[Output]:
        """Hands drawn tokens to their requests. The only place where tokens reach the CPU."""
        drawn = zip(batch.scheduled, out.tokens.tolist(), strict=True)
        return [self.write(s.request, s.num_tokens, token) for s, token in drawn if not s.request.done]

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
        elif all(r.done for r in self.running):
            self.running = []
