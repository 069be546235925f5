"""Watches an engine's steps from outside: the shape of each, its padding, and which rows were still needed."""

from __future__ import annotations

from dataclasses import dataclass, field

from .. import engine
from ..engine.batch import Inputs


@dataclass(frozen=True, slots=True)
class Step:
    """What went through the model in one step of a batch."""

    shape: tuple[int, int]  # rows, tokens each
    padding: int
    working: tuple[bool, ...]  # for each row, whether its request still needs tokens


@dataclass(slots=True)
class Recorder:
    """Every step of `made` from now on. The counts are the engine's own: `Inputs` as attention gets them."""

    made: engine.Engine
    steps: list[Step] = field(default_factory=list)
    prompts: list[int] = field(default_factory=list)  # tokens of each row of the last batch that started

    def __post_init__(self) -> None:
        planned = self.made.runner.attend.plan

        def plan(inputs: Inputs) -> None:
            self.note(inputs)
            planned(inputs)

        self.made.runner.attend.plan = plan  # type: ignore[method-assign]

    def note(self, inputs: Inputs) -> None:
        requests = self.made.scheduler.running
        if not any(r.num_output_tokens for r in requests):
            self.prompts = [r.num_prompt_tokens for r in requests]
        rows, width = inputs.tokens.shape
        self.steps.append(Step((rows, width), inputs.num_padding, tuple(not r.done for r in requests)))
