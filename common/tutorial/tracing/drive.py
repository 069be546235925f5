"""Makes an engine run the scenario: one function for each kind of engine, chosen by what the engine offers.

An engine is the package `engine/` of a stage, or a learner's. A new kind (a queue, batches) is one more
function here and one more line in DRIVERS.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import torch

from common.errors import UserError

from .recorder import Recorder, Step
from .scenario import Scenario


def forward_only(engine: ModuleType, scenario: Scenario, steps: list[Step]) -> None:
    """Stage 01: each prompt through the model once; what comes out is the likeliest next token."""
    for request in scenario.requests:
        recorder = _alone(scenario, request.name, steps)
        with torch.inference_mode(), recorder.recording():
            tokens = torch.tensor(request.tokens)
            hidden = scenario.model(tokens, torch.arange(len(tokens)), engine.CausalAttention())
            steps[-1].parts[0].out.append(int(scenario.model.logits(hidden[-1:])[0].argmax()))


def one_after_the_other(engine: ModuleType, scenario: Scenario, steps: list[Step]) -> None:
    """Stages 02 and 03: `generate` for each prompt. Who comes late finds the others finished."""
    for request in scenario.requests:
        recorder = _alone(scenario, request.name, steps)
        with recorder.recording():
            for token in engine.generate(scenario.model, list(request.tokens), scenario.new_tokens):
                if steps:
                    steps[-1].parts[0].out.append(int(token.id))


def _alone(scenario: Scenario, name: str, steps: list[Step]) -> Recorder:
    """A recorder for a time when one request has the model for itself; it adds to `steps`."""
    recorder = Recorder(scenario.model, lambda tokens, positions: [(name, 0, len(tokens))])
    recorder.steps = steps
    return recorder


DRIVERS: tuple[
    tuple[Callable[[ModuleType], bool], Callable[[ModuleType, Scenario, list[Step]], None]], ...
] = (
    (lambda engine: hasattr(engine, "generate"), one_after_the_other),
    (lambda engine: hasattr(engine, "CausalAttention"), forward_only),
)


def run(engine: ModuleType, scenario: Scenario, steps: list[Step] | None = None) -> list[Step]:
    """The scenario's steps on this engine. `steps` gets them one by one, so that a crash leaves those before it."""
    steps = [] if steps is None else steps
    for fits, driver in DRIVERS:
        if fits(engine):
            driver(engine, scenario, steps)
            return steps
    raise UserError(f"{engine.__name__} offers neither generate nor CausalAttention: nothing to trace")
