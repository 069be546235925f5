"""Records what the scheduler decided at each step, by listening to it from outside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..engine import Engine
from ..engine.batch import Batch, Scheduled

DECODE, PREFILL, CHUNK, WAIT = "decode", "prefill", "chunk", "wait"


@dataclass(frozen=True, slots=True)
class Step:
    """What each request did in one step: id -> (kind, tokens). A request that is not in it had not arrived, or had left."""

    shares: dict[str, tuple[str, int]]

    @property
    def tokens(self) -> int:
        return sum(count for _, count in self.shares.values())

    @property
    def busy(self) -> int:
        return sum(kind != WAIT for kind, _ in self.shares.values())


def kind_of(s: Scheduled) -> str:
    """decode: one token after a computed text; prefill: a whole prompt; chunk: a part of one, also the last part."""
    if s.start >= s.request.num_prompt_tokens:
        return DECODE
    return PREFILL if s.start == 0 and s.draws else CHUNK


class Recorder:
    """Wraps `engine.scheduler.schedule`. Steps without a request are not recorded."""

    def __init__(self, engine: Engine, on_step: Callable[[Step], None] | None = None):
        self.steps: list[Step] = []
        scheduler: Any = engine.scheduler
        schedule = scheduler.schedule

        def recorded() -> Batch:
            batch: Batch = schedule()
            shares = {s.request.id: (kind_of(s), s.num_scheduled_tokens) for s in batch.scheduled}
            left = [*scheduler.running, *scheduler.waiting]
            shares |= {r.id: (WAIT, 0) for r in left if r.id not in shares}
            if batch.scheduled:
                self.steps.append(Step(shares))
                if on_step:
                    on_step(self.steps[-1])
            return batch

        scheduler.schedule = recorded
