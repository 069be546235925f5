"""Sixteen requests at once: transformers' padded batch beside ours, and where a step of ours spends its time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from common.bench.load import Job, drive
from common.bench.measure import interleave
from common.bench.reference import require_equal
from common.equality import Tally
from common.loader import find_checkpoint

from .. import engine

CONTEXT, NEW = 64, 128  # tokens of each prompt, and after it


@dataclass(frozen=True, slots=True)
class Crowd:
    """One run."""

    tokens: list[list[int]]
    first: float  # seconds until each request had a token
    total: float  # seconds

    @property
    def decode(self) -> float:
        return self.total - self.first


class Batched:
    """transformers' generate on a static batch of prompts of one length: greedy, with its own cache."""

    def __init__(self, model: str, device: torch.device, dtype: torch.dtype):
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging

        logging.set_verbosity_error()  # no end token, on purpose: all rows write the same number of tokens
        folder = find_checkpoint(model)
        loaded: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, local_files_only=True)
        self.model: Any = loaded.to(device).eval()
        self.model.generation_config.eos_token_id = None
        self.model.generation_config.pad_token_id = 0
        self.device = device

    @torch.inference_mode()
    def run(self, prompts: Sequence[list[int]], count: int) -> Crowd:
        stamps: list[float] = []

        def stamp(ids: Tensor, scores: Tensor, **more: Any) -> Tensor:
            stamps.append(time.perf_counter())
            return torch.zeros(len(ids), dtype=torch.bool, device=ids.device)

        ids = torch.tensor(list(prompts), device=self.device)
        start = time.perf_counter()
        out = self.model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, do_sample=False,
            stopping_criteria=[stamp],
        )  # fmt: skip
        total = time.perf_counter() - start
        return Crowd(out[:, ids.shape[1] :].tolist(), stamps[0] - start, total)


@dataclass(slots=True)
class Parts:
    """Seconds of each part of a step, for every decode step that was observed."""

    seconds: dict[str, list[float]] = field(default_factory=dict)


class Timed:
    """Calls a function and keeps how long it took."""

    def __init__(self, function: Callable[..., Any], samples: list[float]):
        self.function, self.samples = function, samples

    def __call__(self, *args: Any) -> Any:
        start = time.perf_counter()
        try:
            return self.function(*args)
        finally:
            self.samples.append(time.perf_counter() - start)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.function, name)


def dissect(made: engine.Engine, prompts: Sequence[list[int]], count: int) -> Parts:
    """Where the decode steps of a full batch spend their time. It wraps the engine's parts, so nothing else is timed."""
    scheduler, runner = made.scheduler, made.runner
    places = {"schedule": (scheduler, "schedule"), "prepare": (runner, "prepare"), "forward": (runner, "forward"),
              "postprocess": (scheduler, "postprocess")}  # fmt: skip
    samples: dict[str, list[float]] = {name: [] for name in places}
    attend: list[float] = []
    for name, (owner, method) in places.items():
        setattr(owner, method, Timed(getattr(owner, method), samples[name]))
    runner.attend = Timed(inner := runner.attend, attend)  # type: ignore[assignment]
    params = engine.SamplingParams(count, ignore_eos=True)
    for prompt in prompts:
        made.add(prompt, params)
    steps: list[float] = []
    while not made.scheduler.is_finished:
        start = time.perf_counter()
        made.step()
        steps.append(time.perf_counter() - start)
    for owner, method in places.values():
        delattr(owner, method)
    runner.attend = inner
    # The first step reads the prompts.
    decodes = len(steps) - 1
    layers = len(attend) // len(steps)
    attention = [sum(attend[i * layers : (i + 1) * layers]) for i in range(1, len(steps))]
    found = {name: values[1 : decodes + 1] for name, values in samples.items()}
    rest = [s - sum(found[name][i] for name in found) for i, s in enumerate(steps[1:])]
    found["model"] = [whole - part for whole, part in zip(found.pop("forward"), attention, strict=True)]
    return Parts({**found, "attention": attention, "sample": rest})


def measure_crowd(made: engine.Engine, model: str, prompts: Sequence[list[int]], tally: Tally,
                  repeats: int) -> dict[str, list[Crowd]]:  # fmt: skip
    """Ours against transformers: the same tokens first, then runs of each in turns."""
    theirs = Batched(model, made.device, made.dtype)
    runs: dict[str, list[Crowd]] = {"transformers": [], "ours": []}
    mine, reference = together(made, prompts), theirs.run(prompts, NEW)
    for prompt, a, b in zip(prompts, mine.tokens, reference.tokens, strict=True):
        require_equal(engine, made, prompt, a, b, tally)
    sides = {
        "transformers": lambda: runs["transformers"].append(theirs.run(prompts, NEW)),
        "ours": lambda: runs["ours"].append(together(made, prompts)),
    }
    interleave(sides, repeats, warmup=0, device=made.device)
    return runs


def together(made: engine.Engine, prompts: Sequence[list[int]]) -> Crowd:
    """All requests at once, by our engine. The first step reads the prompts."""
    start = time.perf_counter()
    served = drive(engine, made, [Job(prompt, NEW) for prompt in prompts])
    total = time.perf_counter() - start
    return Crowd([one.tokens for one in served], max(one.at[0] for one in served), total)
