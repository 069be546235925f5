"""Who runs this step, and for how many tokens. Knows requests and no tensors."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator

from .batch import Batch, Scheduled
from .config import EngineConfig
from .kv_cache import RowAllocator
from .request import Output, Request, Status
from .sampler import SamplerOutput

log = logging.getLogger("vitrine.engine")


class Scheduler:
    """Continuous batching (Yu et al., 2022, "Orca"): requests join and leave between two steps.

    A step has a budget of `max_num_batched_tokens`. Running requests come first, a token each; what is left goes to
    prompts in the order of their arrival, in chunks if need be (Agrawal et al., 2023, "Sarathi").
    """

    def __init__(self, config: EngineConfig, rows: RowAllocator):
        self.config, self.rows = config, rows
        self.waiting: deque[Request] = deque()
        self.running: list[Request] = []  # in the order of arrival

    @property
    def is_finished(self) -> bool:
        return not self.waiting and not self.running

    def add(self, request: Request) -> None:
        self.waiting.append(request)

    def schedule(self) -> Batch:
        """The next step's shares. Their tokens count as computed from here on: true once the step has run."""
        budget = self.config.max_num_batched_tokens
        chosen: list[tuple[Request, int]] = []
        for request in sorted(
            self.running, key=lambda r: not r.decoding
        ):  # stable: decode first, then by arrival
            count = self.share(request, budget)
            if count > 0:
                chosen.append((request, count))
                budget -= count
        admit = self.config.batching_mode == "continuous" or not self.running
        while admit and self.waiting and len(self.running) < self.config.max_num_seqs:
            request = self.waiting[0]
            count = self.share(request, budget)
            if count <= 0 or not self.rows.allocate(request, request.max_len):
                break
            self.running.append(self.waiting.popleft())
            request.start()
            chosen.append((request, count))
            budget -= count
        batch = Batch([Scheduled(r, r.num_computed_tokens, count, r.num_tokens) for r, count in chosen])
        for s in batch.scheduled:
            s.request.num_computed_tokens += s.count
        return batch

    def share(self, request: Request, budget: int) -> int:
        """How many tokens of a request run now: what is left of its text, in chunks only if they are allowed.

        A static batch begins whole, whatever the budget: who does not fit into its first step could not join it later.
        """
        wanted = request.num_tokens - request.num_computed_tokens
        if self.config.batching_mode == "static":
            return wanted
        whole = not self.config.chunked_prefill and wanted > 1 and budget > 0
        return wanted if whole else min(wanted, budget)

    def postprocess(self, batch: Batch, out: SamplerOutput) -> list[Output]:
        """Draws become tokens of their requests. The only place where tokens reach the CPU."""
        outputs, drawn = [], iter(out.tokens.tolist())
        for s in batch.scheduled:
            new = self.accept(s, drawn)
            if new and not s.request.done:
                outputs.append(self.write(s.request, s.num_tokens, new))
        return outputs

    def accept(self, s: Scheduled, drawn: Iterator[int]) -> list[int]:
        """The drawn tokens that the request keeps: none while its prompt is not through."""
        return [next(drawn)] if s.samples else []

    def write(self, request: Request, at: int, new: list[int]) -> Output:
        """New tokens take their places from position `at` on; the one that ends the request is the last."""
        text = ""
        for i, token in enumerate(new):
            try:
                text += request.write(at + i, token)
            except Exception as e:
                return self.fail(request, e)
            if request.done:
                new = new[: i + 1]
                self.remove(request)
                break
        return request.output(new, text)

    def undo(self, s: Scheduled) -> None:
        """The step did not happen."""
        s.request.num_computed_tokens = s.start

    def end(self, request: Request, status: Status, reason: str, error: str | None = None) -> Output:
        """Ends a request that has not ended by itself. Text that is held back stays there: to ask for it may fail again."""
        request.finish(status, reason, error)
        self.remove(request)
        return request.output([], "")

    def fail(self, request: Request, e: Exception) -> Output:
        log.error("request %s failed", request.id, exc_info=e)
        return self.end(request, Status.FAILED, "error", f"{type(e).__name__}: {e}")

    def remove(self, request: Request) -> None:
        if request in self.running:
            self.running.remove(request)
        elif request in self.waiting:
            self.waiting.remove(request)
        self.rows.release(request)
