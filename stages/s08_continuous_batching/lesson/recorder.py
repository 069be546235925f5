"""Writes down what the scheduler decided at each step, by listening to it from outside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..engine import Engine
from ..engine.batch import Batch, Scheduled

DECODE, PREFILL, CHUNK, WAIT = "decode", "prefill", "chunk", "wait"


@dataclass(frozen=True, slots=True)
class Step:
    """What each request did in one step: id -> (kind, tokens). Who is not named was not there."""

    shares: dict[str, tuple[str, int]]

    @property
    def tokens(self) -> int:
        return sum(count for _, count in self.shares.values())

    @property
    def busy(self) -> int:
        return sum(kind != WAIT for kind, _ in self.shares.values())


def kind_of(share: Scheduled) -> str:
    """decode: one token behind a computed text; prefill: a whole prompt; chunk: a part of one, the last part too."""
    if share.start >= share.request.num_prompt_tokens:
        return DECODE
    return PREFILL if share.start == 0 and share.draws else CHUNK


class Recorder:
    """Wraps `engine.scheduler.schedule`. Steps in which nobody runs are not written down."""

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
