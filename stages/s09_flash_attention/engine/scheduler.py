"""Decides which requests run. Knows requests, but no tensors; only the engine's thread calls it, except for `add`."""

from __future__ import annotations

import logging
from collections import deque

from common.errors import UserError

from .batch import Batch, Scheduled
from .config import EngineConfig
from .kv_cache import RowAllocator
from .request import Output, Request, Status
from .sampler import SamplerOutput

log = logging.getLogger("vitrine.engine")


class QueueFull(UserError):
    """Too many requests are waiting already."""


class Scheduler:
    """Continuous batching (Yu et al., 2022, "Orca"): requests join and leave between any two steps.

    A step has a budget of `max_num_batched_tokens`. Requests that decode come first, one token each; the rest goes to
    prompts in order of arrival, in chunks if need be (Agrawal et al., 2023, "Sarathi").
    """

    def __init__(self, config: EngineConfig):
        assert config.max_num_seqs and config.max_seq_len  # settled by `fit`
        self.config = config
        self.max_num_seqs = config.max_num_seqs
        self.rows = RowAllocator(config.max_num_seqs, config.max_seq_len)
        self.waiting: deque[Request] = deque()
        # In order of arrival.
        self.running: list[Request] = []

    @property
    def is_finished(self) -> bool:
        return not self.waiting and not self.running

    def add(self, request: Request) -> None:
        """Puts a request at the end of the queue. Raises QueueFull."""
        if len(self.waiting) >= self.config.max_waiting:
            raise QueueFull(f"{len(self.waiting)} requests are waiting already; try again later")
        self.waiting.append(request)

    def schedule(self) -> Batch:
        """Chooses the tokens of the next step. They count as computed from now on, which is true once the step has run.

        Raises:
            RuntimeError: nothing can be scheduled although requests are waiting.
        """
        budget = self.config.max_num_batched_tokens
        scheduled: list[Scheduled] = []
        # The sort is stable: decodes first, and within each kind the order of arrival.
        for request in sorted(self.running, key=lambda r: not r.decoding):
            if count := self.num_tokens_to_run(request, budget):
                scheduled.append(Scheduled(request, request.num_computed_tokens, count, request.num_tokens))
                budget -= count
        admits = self.config.batching_mode == "continuous" or not self.running
        while admits and self.waiting and len(self.running) < self.max_num_seqs:
            request = self.waiting[0]
            count = self.num_tokens_to_run(request, budget)
            if not count or not self.rows.allocate(request, request.max_len):
                break
            self.running.append(self.waiting.popleft())
            request.start()
            scheduled.append(Scheduled(request, request.num_computed_tokens, count, request.num_tokens))
            budget -= count
        if not scheduled:
            raise RuntimeError(f"nothing can be scheduled, but {len(self.waiting)} requests are waiting")
        for s in scheduled:
            s.request.num_computed_tokens = s.end
        return Batch(scheduled)

    def num_tokens_to_run(self, request: Request, budget: int) -> int:
        """How many tokens of a request the step takes: all that are left, or a chunk that fits into the budget.

        A static batch starts whole, whatever the budget: a request left out of its first step could not join later.
        """
        left = request.num_tokens - request.num_computed_tokens
        if self.config.batching_mode == "static":
            return left
        if not self.config.chunked_prefill and budget > 0:
            return left
        return max(0, min(left, budget))

    def postprocess(self, batch: Batch, out: SamplerOutput) -> list[Output]:
        """Hands drawn tokens to their requests. The only place where tokens reach the CPU."""
        drawn = zip([s for s in batch.scheduled if s.draws], out.tokens.tolist(), strict=True)
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
        elif request in self.running:
            self.running.remove(request)
        self.rows.release(request)
