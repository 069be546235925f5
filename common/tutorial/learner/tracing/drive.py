"""Makes an engine run the scenario: one function for each kind of engine, chosen by what the engine offers.

An engine is the package `engine/` of a stage, or a learner's. A new kind is one more function here and one
more line in DRIVERS.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from types import ModuleType
from typing import Any

import torch

from common.errors import UserError

from .ledger import Ledger
from .recorder import Recorder, Step
from .scenario import Scenario

MAX_STEPS = 100  # many more than the scenario takes: an engine that never finishes must not hang its check
MAX_SEQ_LEN = 16


def forward_only(engine: ModuleType, scenario: Scenario, steps: list[Step]) -> None:
    """Stage 01: each prompt through the model once; what comes out is the likeliest next token."""
    for request in scenario.requests:
        recorder = _alone(scenario, request.name, steps)
        with torch.inference_mode(), recorder.recording():
            tokens = torch.tensor(request.tokens)
            hidden = scenario.model(tokens, torch.arange(len(tokens)), engine.CausalAttention())
            steps[-1].parts[0].out.append(int(scenario.model.logits(hidden[-1:])[0].argmax()))


def one_after_the_other(engine: ModuleType, scenario: Scenario, steps: list[Step]) -> None:
    """Stages 02 and 03: `generate` for each prompt. A late request finds the others finished."""
    for request in scenario.requests:
        recorder = _alone(scenario, request.name, steps)
        with recorder.recording():
            for token in engine.generate(scenario.model, list(request.tokens), scenario.new_tokens):
                if steps:
                    steps[-1].parts[0].out.append(int(token.id))


def streams(engine: ModuleType, scenario: Scenario, steps: list[Step]) -> None:
    """Stages 04 and 05: an `Engine` that serves one request at a time."""
    served = _engine(engine, scenario)
    for request in scenario.requests:
        with _alone(scenario, request.name, steps).recording():
            for output in served.stream(list(request.tokens), _greedy(engine, scenario)):
                steps[-1].parts[0].out += output.tokens


def step_by_step(engine: ModuleType, scenario: Scenario, steps: list[Step]) -> None:
    """From stage 06: requests are added when they arrive, and `step` is called while any is unfinished."""
    served, ledger = _engine(engine, scenario), Ledger()
    coming, unfinished = list(scenario.requests), {request.name for request in scenario.requests}
    recorder = Recorder(scenario.model, ledger.whose)
    recorder.steps = steps
    with recorder.recording():
        for number in range(MAX_STEPS):
            while coming and coming[0].arrives <= number:
                request = coming.pop(0)
                ledger.add(request.name, list(request.tokens))
                served.add(list(request.tokens), _greedy(engine, scenario), request.name)
            for output in served.step():
                ledger.extend(output.request_id, output.tokens)
                if part := steps[-1].part(output.request_id) if steps else None:
                    part.out += output.tokens
                if output.finish_reason:
                    ledger.remove(output.request_id)
                    unfinished.remove(output.request_id)
            if not unfinished:
                return
    raise UserError(f"requests {' '.join(sorted(unfinished))} are not finished after {MAX_STEPS} steps")


def _engine(engine: ModuleType, scenario: Scenario) -> Any:
    """An `Engine` on the scenario's model, set up with those of our settings that it knows."""
    known = {field.name for field in fields(engine.EngineConfig)}
    wanted = {
        "device": "cpu",
        "dtype": "float32",
        "block_size": scenario.block_size,
        "max_seq_len": MAX_SEQ_LEN,
    }
    config = engine.EngineConfig(**{name: value for name, value in wanted.items() if name in known})
    return engine.Engine(scenario.model, scenario.tokenizer, scenario.model.config, config)


def _greedy(engine: ModuleType, scenario: Scenario) -> Any:
    """Parameters of every request. Temperature exists from stage 05 on, where greedy is 0."""
    known = {field.name for field in fields(engine.SamplingParams)}
    greedy = {"temperature": 0.0} if "temperature" in known else {}
    return engine.SamplingParams(max_tokens=scenario.new_tokens, ignore_eos=True, **greedy)


def _alone(scenario: Scenario, name: str, steps: list[Step]) -> Recorder:
    """A recorder for a time when one request has the model for itself; it adds to `steps`."""
    recorder = Recorder(scenario.model, lambda tokens, positions: [(name, 0, len(tokens))])
    recorder.steps = steps
    return recorder


DRIVERS: tuple[
    tuple[Callable[[ModuleType], bool], Callable[[ModuleType, Scenario, list[Step]], None]], ...
] = (
    (lambda engine: hasattr(getattr(engine, "Engine", None), "step"), step_by_step),
    (lambda engine: hasattr(engine, "Engine"), streams),
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
    raise UserError(f"{engine.__name__} offers no Engine, generate or CausalAttention: nothing to trace")
