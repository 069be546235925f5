"""A load of greedy requests on an engine that is stepped by hand: each is added when it is due, and its tokens are timed.

Works with every engine whose `add` takes token ids and whose `step` serves all that were added. One thread does all of
it, so nothing but the engine decides when a token is there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

__all__ = ["Job", "Served", "drive"]


@dataclass(frozen=True, slots=True)
class Job:
    """A greedy request: its prompt, how many tokens it gets, and when it comes, in seconds from the start."""

    prompt: list[int]
    limit: int
    due: float = 0.0


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
        """Seconds from each token to the next."""
        return [after - before for before, after in zip(self.at, self.at[1:], strict=False)]


def drive(package: ModuleType, made: Any, jobs: Sequence[Job]) -> list[Served]:
    """Serves the jobs with `made`, an engine of `package` whose thread is not started."""
    served = [Served(job) for job in jobs]
    to_come = sorted(served, key=lambda one: one.job.due)
    unfinished, start = len(to_come), time.perf_counter()

    def reader(one: Served) -> Callable[[Any], None]:
        def take(output: Any) -> None:
            nonlocal unfinished
            now = time.perf_counter() - start
            one.tokens += output.tokens
            one.at += [now] * len(output.tokens)
            unfinished -= output.finish_reason is not None

        return take

    while unfinished:
        now = time.perf_counter() - start
        while to_come and to_come[0].job.due <= now:
            one = to_come.pop(0)
            params = package.SamplingParams(one.job.limit, ignore_eos=True)
            made.add(one.job.prompt, params, None, reader(one))
        if len(to_come) == unfinished:  # the engine is idle until the next one comes
            time.sleep(max(0.0, to_come[0].job.due - (time.perf_counter() - start)))
        else:
            made.step()
    return served
