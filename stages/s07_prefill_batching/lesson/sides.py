"""The same requests served one by one by the previous stage's engine, and in batches of several sizes by this one's."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch

from common.equality import Tally, assert_same_tokens
from common.tutorial import load_stage

from .. import engine

ROWS = (1, 2, 4, 5, 8, 16)  # requests in a batch


@dataclass(frozen=True, slots=True)
class Job:
    """A greedy request: its prompt, and how many tokens it gets."""

    prompt: list[int]
    limit: int


@dataclass(frozen=True, slots=True)
class Served:
    """What serving some jobs gave, and what it took."""

    tokens: list[list[int]]
    seconds: float
    computed: int = 0  # tokens through the model
    padding: int = 0

    @property
    def rate(self) -> float:
        """Requested tokens per second."""
        return sum(map(len, self.tokens)) / self.seconds


@dataclass(frozen=True, slots=True)
class Sides:
    """An engine for each number of rows, and the previous stage's, all on the same weights."""

    before: Any
    batched: dict[int, engine.Engine]
    previous: ModuleType
    tally: Tally = field(default_factory=Tally)

    @classmethod
    def build(cls, model: str, device: str, dtype: str, window: int) -> Sides:
        first = engine.Engine.from_pretrained(
            model, engine.EngineConfig(device, dtype, window, max_num_seqs=1)
        )
        parts, previous = (first.model, first.tokenizer, first.model_config), load_stage(6).engine
        batched = {
            rows: engine.Engine(
                *parts, engine.EngineConfig(device, dtype, window, max_num_seqs=rows, batch_wait=0.0)
            )
            for rows in ROWS
        }
        return cls(previous.Engine(*parts, previous.EngineConfig(device, dtype, window)), batched, previous)

    def serve(self, jobs: Sequence[Job], rows: int | None = None) -> Served:
        """By the engine with so many rows, or by the previous stage's."""
        package, made = (self.previous, self.before) if rows is None else (engine, self.batched[rows])
        each = [package.SamplingParams(job.limit, ignore_eos=True) for job in jobs]
        computed, padding = (made.runner.num_computed, made.runner.num_padding) if rows else (0, 0)
        start = time.perf_counter()
        found = made.generate([job.prompt for job in jobs], each)
        seconds = time.perf_counter() - start
        counts = (made.runner.num_computed - computed, made.runner.num_padding - padding) if rows else (0, 0)
        return Served([one.tokens for one in found], seconds, *counts)

    def require_equal(self, jobs: Sequence[Job], rows: int, expected: Sequence[Sequence[int]]) -> None:
        """Raises AssertionError where a batch writes other tokens than the previous stage, near ties aside."""
        for job, ours, reference in zip(jobs, self.serve(jobs, rows).tokens, expected, strict=True):

            def go_on(done: list[int], job: Job = job, ours: list[int] = ours) -> list[int]:
                rest = Job(job.prompt + done, job.limit - len(done))
                return self.serve([rest], rows).tokens[0] if done else ours

            def scores(i: int, job: Job = job, reference: Sequence[int] = reference) -> torch.Tensor:
                return self.scores(job.prompt + list(reference[:i]))

            assert_same_tokens(go_on, reference, scores, tally=self.tally)

    @torch.inference_mode()
    def scores(self, tokens: Sequence[int]) -> torch.Tensor:
        """tokens -> logits [vocab_size] of the next one, by the plain attention of the first stage."""
        attend, made = load_stage(1).engine.CausalAttention(), self.batched[1]
        ids = torch.tensor(tokens, device=made.device)
        hidden = made.model(ids, torch.arange(len(ids), device=made.device), attend)
        logits: torch.Tensor = made.model.logits(hidden[-1:])[0]
        return logits


def time_steps(
    made: engine.Engine, prompt: Sequence[int], rows: int, steps: int
) -> tuple[float, list[float]]:
    """Seconds of the step that reads `rows` equal prompts, and of each of the `steps` that follow."""
    params = engine.SamplingParams(steps + 1, ignore_eos=True)
    for _ in range(rows):
        made.add(prompt, params)
    seconds = []
    for _ in range(steps + 1):
        start = time.perf_counter()
        made.step()
        seconds.append(time.perf_counter() - start)
    return seconds[0], seconds[1:]
