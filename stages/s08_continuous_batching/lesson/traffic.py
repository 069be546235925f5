"""Requests that come at given moments, served by an engine stepped by hand; when each of their tokens came out."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from common.equality import Tally, assert_same_tokens
from common.tutorial import load_stage


@dataclass(frozen=True, slots=True)
class Job:
    """A greedy request: when it comes, in seconds from the start, its prompt, and how many tokens it gets."""

    due: float
    prompt: list[int]
    limit: int


@dataclass(slots=True)
class Served:
    """What a client saw. Seconds from the start."""

    job: Job
    tokens: list[int] = field(default_factory=list)
    at: list[float] = field(default_factory=list)  # of each token

    @property
    def ttft(self) -> float:
        """From the moment it was due: that it is noticed only between two steps is part of the wait."""
        return self.at[0] - self.job.due

    @property
    def gaps(self) -> list[float]:
        return [after - before for before, after in zip(self.at, self.at[1:], strict=False)]


def poisson(count: int, rate: float, seed: int) -> list[float]:
    """Moments of `count` arrivals at `rate` a second that know nothing of each other."""
    draw, now, moments = random.Random(seed), 0.0, []
    for _ in range(count):
        now += draw.expovariate(rate)
        moments.append(now)
    return moments


def drive(package: ModuleType, made: Any, jobs: Sequence[Job]) -> list[Served]:
    """Serves the jobs, each added once it is due. made: an engine of stage 07 or later, without its thread."""
    served = [Served(job) for job in jobs]
    left = sorted(served, key=lambda one: one.job.due)
    open_ones, start = len(left), time.perf_counter()

    def reader(one: Served) -> Any:
        def take(output: Any) -> None:
            nonlocal open_ones
            now = time.perf_counter() - start
            one.tokens += output.tokens
            one.at += [now] * len(output.tokens)
            open_ones -= output.finish_reason is not None

        return take

    while open_ones:
        now = time.perf_counter() - start
        while left and left[0].job.due <= now:
            one = left.pop(0)
            params = package.SamplingParams(one.job.limit, ignore_eos=True)
            made.add(one.job.prompt, params, None, reader(one))
        if len(left) == open_ones:  # nobody is here
            time.sleep(max(0.0, left[0].job.due - (time.perf_counter() - start)))
        else:
            made.step()
    return served


def scores_of(model: Any, tokens: Sequence[int]) -> Any:
    """tokens -> logits [vocab_size] of the next one, by the plain attention of the first stage."""
    import torch

    with torch.inference_mode():
        ids = torch.tensor(tokens, device=model.device)
        hidden = model(ids, torch.arange(len(ids), device=ids.device), load_stage(1).engine.CausalAttention())
        return model.logits(hidden[-1:])[0]


def require_equal(package: ModuleType, made: Any, mine: Sequence[int], theirs: Sequence[int], prompt: list[int],
                  tally: Tally) -> None:  # fmt: skip
    """Raises AssertionError where two sides wrote different tokens behind a prompt, near ties aside."""

    def go_on(done: list[int]) -> Sequence[int]:
        if not done:
            return mine
        params = package.SamplingParams(len(theirs) - len(done), ignore_eos=True)
        tokens: list[int] = made.generate([prompt + done], params)[0].tokens
        return tokens

    assert_same_tokens(go_on, theirs, lambda i: scores_of(made.model, prompt + list(theirs[:i])), tally=tally)
