"""The same requests served one by one by the previous stage's engine, and in batches of several sizes by this one's."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import torch

from common.bench.load import Job
from common.bench.reference import require_equal
from common.equality import Tally
from common.tutorial import load_stage

from .. import engine

ROWS = (1, 2, 4, 5, 8, 16)  # requests in a batch


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
        """By the engine with that many rows, or by the previous stage's."""
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
        for job, ours, theirs in zip(jobs, self.serve(jobs, rows).tokens, expected, strict=True):
            require_equal(engine, self.batched[rows], job.prompt, ours, theirs, self.tally)


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


class TimedAttention:
    """Passes everything on to an `attend`, and adds up how long its calls took."""

    def __init__(self, attend: Any):
        self.attend, self.plan, self.seconds = attend, attend.plan, 0.0

    def __call__(self, *args: Any) -> torch.Tensor:
        start = time.perf_counter()
        out: torch.Tensor = self.attend(*args)
        self.seconds += time.perf_counter() - start
        return out


def time_attention(made: engine.Engine, prompt: Sequence[int], rows: int, steps: int) -> list[float]:
    """Seconds spent in attention, in each of the steps that follow the prompts. Meant for a CPU, where a call computes."""
    runner: Any = made.runner
    plain, runner.attend = runner.attend, (timed := TimedAttention(runner.attend))
    params = engine.SamplingParams(steps + 1, ignore_eos=True)
    for _ in range(rows):
        made.add(prompt, params)
    made.step()
    seconds = []
    while not made.scheduler.is_finished:
        timed.seconds = 0.0
        made.step()
        seconds.append(timed.seconds)
    runner.attend = plain
    return seconds
