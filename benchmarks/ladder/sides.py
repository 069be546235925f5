"""A side for each stage, driven in this process: by its forward pass, its token loop, or its `Engine`.

Which one a stage has is seen from what its engine exports, so a later stage needs no line here. Tokens are stamped
where they are known on the host. Peers are in `benchmarks.peers`; who times what, and checks it, is left to `worker`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from benchmarks.sides import Served
from common.errors import UserError
from common.loader import fill, load_config, materialize
from common.models import Model, new_model
from common.tokenizer import Tokenizer
from common.tutorial.chain import find_stage, load_stage

from .task import Room

__all__ = ["Parts", "StageSide", "is_queued", "load", "loaded_seconds", "make"]


@dataclass(frozen=True, slots=True)
class Parts:
    """What all stages of a process share: they never write to a model."""

    model: Model
    tokenizer: Tokenizer | None  # a published shape has none
    config: Any
    seconds: float  # to load it


_loaded: dict[tuple[str, str, str], Parts] = {}


def load(folder: str, device: str, dtype: str) -> Parts:
    """As `read`, once a process."""
    key = (folder, device, dtype)
    if key not in _loaded:
        _loaded.clear()  # one at a time
        _loaded[key] = read(*key)
    return _loaded[key]


def loaded_seconds() -> float:
    """How long it took to load the model that is there; 0 where none is."""
    return sum(parts.seconds for parts in _loaded.values())


def read(folder: str, device: str, dtype: str) -> Parts:
    """A checkpoint; unlike `common.loader.load_model` also one without a tokenizer. Raises UserError."""
    begin, path = time.perf_counter(), Path(folder)
    config = load_config(path)
    with torch.device("meta"):
        model: Any = new_model(config)
    materialize(model, torch.device(device), getattr(torch, dtype))
    fill(model, path)
    tokenizer = Tokenizer.from_folder(path) if (path / "tokenizer.json").exists() else None
    return Parts(model.eval(), tokenizer, config, time.perf_counter() - begin)


class StageSide:
    """What all stages have in common. Subclasses say how a stage is asked for tokens."""

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
        raise NotImplementedError

    def close(self) -> None:
        pass


class Forward(StageSide):
    """A stage that has only the forward pass: the token behind a prompt, and no more."""

    most = 1

    @torch.inference_mode()
    def run(self, prompts: Sequence[Sequence[int]], limits: Sequence[int]) -> Served:
        if max(limits) > 1:
            raise UserError(f"stage {self.name}: computes one token and writes none")
        model, start = self.parts.model, time.perf_counter()
        tokens, stamps = [], []
        for prompt in prompts:
            ids = torch.tensor(list(prompt), device=model.device)
            positions = torch.arange(len(ids), device=ids.device)
            hidden = model(ids, positions, self.package.CausalAttention())
            tokens.append([int(model.logits(hidden[-1:])[0].argmax())])
            stamps.append([time.perf_counter() - start])
        return Served(tokens, stamps[-1][-1], stamps)


class Loop(StageSide):
    """A stage with `generate(model, tokens, max_new_tokens)`: one prompt after another."""

    def run(self, prompts: Sequence[Sequence[int]], limits: Sequence[int]) -> Served:
        start = time.perf_counter()
        tokens: list[list[int]] = [[] for _ in prompts]
        stamps: list[list[float]] = [[] for _ in prompts]
        for i, (prompt, limit) in enumerate(zip(prompts, limits, strict=True)):
            for token in self.package.generate(self.parts.model, prompt, limit):
                tokens[i].append(token.id)
                stamps[i].append(time.perf_counter() - start)
        return Served(tokens, stamps[-1][-1], stamps)


class Streamed(StageSide):
    """A stage whose `Engine` has `stream` and no queue: one prompt after another."""

    made: Any = None

    def reset(self) -> None:
        self.close()
        config = settings(self.package, self.room, self.parts.model)
        self.made = self.package.Engine(self.parts.model, self.parts.tokenizer, self.parts.config, config)

    def run(self, prompts: Sequence[Sequence[int]], limits: Sequence[int]) -> Served:
        self.start = time.perf_counter()
        tokens: list[list[int]] = [[] for _ in prompts]
        stamps: list[list[float]] = [[] for _ in prompts]
        self.serve(prompts, limits, tokens, stamps)
        total = max(own[-1] for own in stamps)
        if short := [
            i for i, (own, limit) in enumerate(zip(tokens, limits, strict=True)) if len(own) != limit
        ]:
            raise RuntimeError(f"stage {self.name}: request {short[0]} ended before its last token")
        return Served(tokens, total, stamps)

    def serve(self, prompts: Sequence[Sequence[int]], limits: Sequence[int], tokens: list[list[int]],
              stamps: list[list[float]]) -> None:  # fmt: skip
        for i, (prompt, limit) in enumerate(zip(prompts, limits, strict=True)):
            for output in self.made.stream(list(prompt), params(self.package, limit)):
                tokens[i] += output.tokens
                stamps[i] += [time.perf_counter() - self.start] * len(output.tokens)

    def close(self) -> None:
        if self.made is not None:
            self.made.close()
        self.made = None  # before another is made: two caches would be in memory


class Queued(Streamed):
    """A stage whose `Engine` has `add` and `step`: all prompts are there at once, and the stage says who runs."""

    together = True

    def serve(self, prompts: Sequence[Sequence[int]], limits: Sequence[int], tokens: list[list[int]],
              stamps: list[list[float]]) -> None:  # fmt: skip
        left = len(prompts)

        def reader(i: int) -> Any:
            def take(output: Any) -> None:
                nonlocal left
                now = time.perf_counter() - self.start
                tokens[i].extend(output.tokens)
                stamps[i].extend([now] * len(output.tokens))
                left -= output.finish_reason is not None

            return take

        for i, (prompt, limit) in enumerate(zip(prompts, limits, strict=True)):
            self.made.add(list(prompt), params(self.package, limit), None, reader(i))
        while left:
            self.made.step()


def params(package: ModuleType, limit: int) -> Any:
    """Greedy, and on to the last token asked for."""
    wanted = {"max_tokens": limit, "ignore_eos": True, "temperature": 0.0}
    known = {field.name for field in fields(package.SamplingParams)}
    return package.SamplingParams(**{name: value for name, value in wanted.items() if name in known})


def settings(package: ModuleType, room: Room, model: Model) -> Any:
    """A configuration in which all of a crowd fits, as far as the stage has settings for that."""
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
