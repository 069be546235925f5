"""A side for each stage, driven in this process: by its forward pass, its token loop, or its `Engine`.

Which one a stage has is seen from what its engine exports, so a later stage needs no line here. Tokens are stamped
where they are known on the host. Peers are in `benchmarks.peers`; `measure` times and checks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from benchmarks.sides import Served
from common.bench.load import Job, drive
from common.errors import UserError
from common.loader import load_weights
from common.models import Model
from common.tokenizer import Tokenizer
from common.tutorial.chain import find_stage, load_stage

from .task import Room

__all__ = ["Parts", "StageSide", "is_queued", "load", "make"]


@dataclass(frozen=True, slots=True)
class Parts:
    """A checkpoint, loaded."""

    model: Model
    tokenizer: Tokenizer | None  # a published shape has none
    config: Any


@lru_cache(maxsize=1)
def load(folder: str, device: str, dtype: str) -> Parts:
    """A checkpoint, also one without a tokenizer; once per process. Raises UserError."""
    model, path = load_weights(Path(folder), device, dtype), Path(folder)
    tokenizer = Tokenizer.from_folder(path) if (path / "tokenizer.json").exists() else None
    return Parts(model, tokenizer, model.config)


class StageSide:
    """What all stages have in common. Subclasses say how a stage is asked for tokens, one prompt after another."""

    version = ""  # it is this commit's
    mixed = True  # prompts of different lengths
    together = False  # whether prompts are served at once, and not one after another
    most: int | None = None  # tokens that can be asked for; None: as many as the window has

    def __init__(self, package: ModuleType, name: str, parts: Parts, room: Room):
        self.package, self.name, self.parts, self.room = package, name, parts, room
        self.reset()

    def reset(self) -> None:
        """Forgets what earlier prompts left behind: a later run must not find them in a prefix cache."""

    def run(self, prompts: Sequence[Sequence[int]], limits: Sequence[int]) -> Served:
        start = time.perf_counter()
        tokens: list[list[int]] = [[] for _ in prompts]
        stamps: list[list[float]] = [[] for _ in prompts]
        for i, (prompt, limit) in enumerate(zip(prompts, limits, strict=True)):

            def take(new: Sequence[int], i: int = i) -> None:
                tokens[i] += new
                stamps[i] += [time.perf_counter() - start] * len(new)

            self.complete(list(prompt), limit, take)
        return self.served(tokens, stamps, limits)

    def served(self, tokens: list[list[int]], stamps: list[list[float]], limits: Sequence[int]) -> Served:
        for i, (own, limit) in enumerate(zip(tokens, limits, strict=True)):
            if len(own) != limit:
                raise RuntimeError(f"stage {self.name}: request {i} ended before its last token")
        return Served(tokens, max(own[-1] for own in stamps), stamps)

    def complete(self, prompt: list[int], limit: int, take: Callable[[Sequence[int]], None]) -> None:
        """Hands each new token to `take` as soon as it is known."""
        raise NotImplementedError

    def close(self) -> None:
        pass


class Forward(StageSide):
    """A stage that has only the forward pass: the token after a prompt, and no more."""

    most = 1

    @torch.inference_mode()
    def complete(self, prompt: list[int], limit: int, take: Callable[[Sequence[int]], None]) -> None:
        if limit > 1:
            raise UserError(f"stage {self.name}: computes one token and writes none")
        model = self.parts.model
        ids = torch.tensor(prompt, device=model.device)
        hidden = model(ids, torch.arange(len(ids), device=ids.device), self.package.CausalAttention())
        take([int(model.logits(hidden[-1:])[0].argmax())])


class Loop(StageSide):
    """A stage with `generate(model, tokens, max_new_tokens)`."""

    def complete(self, prompt: list[int], limit: int, take: Callable[[Sequence[int]], None]) -> None:
        for token in self.package.generate(self.parts.model, prompt, limit):
            take([token.id])


class Streamed(StageSide):
    """A stage whose `Engine` has `stream` and no queue."""

    made: Any = None

    def reset(self) -> None:
        self.close()
        config = settings(self.package, self.room, self.parts.model)
        self.made = self.package.Engine(self.parts.model, self.parts.tokenizer, self.parts.config, config)

    def complete(self, prompt: list[int], limit: int, take: Callable[[Sequence[int]], None]) -> None:
        for output in self.made.stream(prompt, self.package.SamplingParams(limit, ignore_eos=True)):
            take(output.tokens)

    def close(self) -> None:
        if self.made is not None:
            self.made.close()
        self.made = None  # before another is made: two caches would be in memory


class Queued(Streamed):
    """A stage whose `Engine` has `add` and `step`: all prompts are sent at once, and the stage says who runs."""

    together = True

    def run(self, prompts: Sequence[Sequence[int]], limits: Sequence[int]) -> Served:
        jobs = [Job(list(prompt), limit) for prompt, limit in zip(prompts, limits, strict=True)]
        served = drive(self.package, self.made, jobs)
        return self.served([one.tokens for one in served], [one.at for one in served], limits)


def settings(package: ModuleType, room: Room, model: Model) -> Any:
    """A configuration in which all requests fit, as far as the stage has settings for that."""
    wanted = {
        "device": str(model.device),
        "dtype": str(model.dtype).removeprefix("torch."),
        "max_seq_len": room.length,
        "max_waiting": max(room.requests, 1),
        "max_num_seqs": room.rows,
        "max_num_batched_tokens": max(room.budget, room.rows),
        "batch_wait": 0.0,  # all are there already
    }
    known = {field.name for field in fields(package.EngineConfig)}
    return package.EngineConfig(**{name: value for name, value in wanted.items() if name in known})


def _kind(engine: ModuleType) -> type[StageSide]:
    if hasattr(engine, "Engine"):
        return Queued if hasattr(engine.Engine, "add") else Streamed
    return Loop if hasattr(engine, "generate") else Forward


def is_queued(number: int) -> bool:
    """Whether a stage takes several requests at a time."""
    return _kind(load_stage(number).engine).together


def make(number: int, parts: Parts, room: Room) -> StageSide:
    """A stage on a loaded model. Raises UserError for a number that does not exist."""
    engine = load_stage(number).engine
    return _kind(engine)(engine, f"s{find_stage(number).nn}", parts, room)
