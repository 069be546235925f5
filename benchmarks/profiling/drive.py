"""Any stage at work on one crowd of prompts, a step at a time, so that a profiler can stand around the steps.

From stage 06 on the engine is stepped by hand; before that a stage serves one request, and a step is its next token.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch

from common.bench.shapes import load_parts
from common.equality import forgive, near_tie_rule
from common.errors import UserError
from common.models import Model
from common.options import add_options, read_options
from common.terminal.command_line import Parser
from common.tutorial.chain import find_stage, load_stage

__all__ = ["Crowd", "Loaded", "check", "load", "prompts_of", "start"]

FIRST, LAST_WITHOUT_ENGINE = 2, 3
Tokens = list[list[int]]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A stage with a model in it."""

    number: int
    package: ModuleType  # its engine/
    engine: Any | None  # None: the stage has a `generate` only
    model: Model
    config: Any  # the model's
    rows: int  # requests that run at once

    @property
    def device(self) -> torch.device:
        device: torch.device = self.model.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        dtype: torch.dtype = self.model.dtype
        return dtype


def load(
    stage: str,
    model: str,
    device: str,
    dtype: str,
    batch: int,
    prompt: int,
    new: int,
    options: Sequence[str] = (),
) -> Loaded:
    """A stage, ready for `batch` prompts of `prompt` tokens with room for `new` more each.

    model: as for `load_model`, or the name of a published shape, which gets random weights and no tokenizer.
    options: flags of the stage's EngineConfig; they win over what is chosen here.

    Raises:
        UserError: a wrong stage, model, device, dtype or option, or a window that is too small.
    """
    number = find_stage(stage).number
    if number < FIRST:
        raise UserError(
            f"stage {number:02d} makes no steps; from stage {FIRST:02d} on there is a loop to profile"
        )
    package = load_stage(number).engine
    if number <= LAST_WITHOUT_ENGINE:
        if options:
            raise UserError(f"{options[0]}: stage {number:02d} has no engine to set up")
        parts = load_parts(model, device, dtype)
        check_window(parts[2].max_positions, prompt, new)
        return Loaded(number, package, None, parts[0], parts[2], 1)
    known = package.EngineConfig.__dataclass_fields__
    chosen = {
        "device": device, "dtype": dtype, "max_num_seqs": batch, "max_num_batched_tokens": batch * prompt, "batch_wait": 0,
    }  # fmt: skip
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in chosen.items() if name in known]
    parser = Parser(prog=f"options of stage {number:02d}'s engine", allow_abbrev=False)
    add_options(parser, package.EngineConfig)
    config = read_options(package.EngineConfig, vars(parser.parse_args([*flags, *options])))
    parts = load_parts(model, config.device, config.dtype)
    check_window(config.max_seq_len or parts[2].max_positions, prompt, new)
    if config.max_seq_len is None:  # a cache of the whole window may not fit the device
        flags.append(f"--max-seq-len={prompt + new}")
        config = read_options(package.EngineConfig, vars(parser.parse_args([*flags, *options])))
    rows = min(batch, config.max_num_seqs) if "max_num_seqs" in known else 1
    return Loaded(number, package, package.Engine(*parts, config), parts[0], parts[2], rows)


def check_window(window: int, prompt: int, new: int) -> None:
    if prompt + new > window:
        raise UserError(
            f"{prompt} prompt tokens and {new} new ones make {prompt + new}, but the window is {window} tokens; "
            "give fewer --prompt-tokens or --steps"
        )


def prompts_of(loaded: Loaded, length: int, draw: random.Random) -> Tokens:
    """Random token ids, so that no prefix cache finds anything."""
    ends = set(loaded.config.eos_token_ids)
    ids = [i for i in range(loaded.config.vocab_size) if i not in ends]
    return [draw.choices(ids, k=length) for _ in range(loaded.rows)]


class Crowd:
    """Prompts that are served together. `step` makes one step; `tokens` has what came out, of each prompt."""

    def __init__(self, prompts: Tokens, step: Callable[[Crowd], None]):
        self.prompts, self._step = prompts, step
        self.tokens: Tokens = [[] for _ in prompts]
        self.ended = 0
        self.failure = ""

    def step(self) -> int:
        """-> how many tokens it gave. Raises UserError where a request has ended already."""
        if self.ended:
            raise UserError(
                "a request ended before the last step; give fewer --steps, or more room: -- --max-seq-len N"
            )
        before = sum(map(len, self.tokens))
        self._advance()
        return sum(map(len, self.tokens)) - before

    def prefill(self) -> None:
        """Steps until each prompt has its first token."""
        while not all(self.tokens):
            self._advance()

    def take(self, row: int, tokens: Sequence[int], reason: str | None) -> None:
        self.tokens[row].extend(tokens)
        self.ended += reason is not None
        if reason not in (None, "length"):
            self.failure = reason

    def _advance(self) -> None:
        self._step(self)
        if self.failure:  # an engine goes on with the others; a profile of that would say nothing
            raise RuntimeError(f"a request did not get its tokens: {self.failure}")


def start(loaded: Loaded, prompts: Tokens, new: int) -> Crowd:
    """A crowd whose prompts wait for the first step; each gets up to `new` tokens, greedy, whatever they are."""
    if loaded.engine is None:
        return drawn(
            prompts,
            (([one.id], one.finish_reason) for one in loaded.package.generate(loaded.model, prompts[0], new)),
        )
    params = loaded.package.SamplingParams(max_tokens=new, ignore_eos=True)
    if not hasattr(loaded.engine, "add"):
        outputs = loaded.engine.stream(prompts[0], params)
        return drawn(prompts, ((o.tokens, o.finish_reason) for o in outputs))
    engine = loaded.engine
    crowd = Crowd(prompts, lambda _: engine.step())
    for row, prompt in enumerate(prompts):
        engine.add(prompt, params, None, lambda o, row=row: crowd.take(row, o.tokens, o.finish_reason))
    return crowd


def drawn(prompts: Tokens, outputs: Iterator[tuple[list[int], str | None]]) -> Crowd:
    """A crowd of one, whose steps are an iterator's."""

    def step(crowd: Crowd) -> None:
        tokens, reason = next(outputs)
        crowd.take(0, tokens, reason)
        if reason:
            next(outputs, None)  # to its end: until then it holds the model

    return Crowd(prompts, step)


@torch.inference_mode()
def check(loaded: Loaded, crowd: Crowd) -> str:
    """Each token of the first and the last prompt against plain attention over the whole text -> what was found.

    Raises AssertionError where one is not the likeliest. In half precision two of the likeliest may round to another order.
    """
    tolerance = near_tie_rule(loaded.dtype)["tolerance"]
    attend, compared, near = load_stage(1).engine.CausalAttention, 0, 0
    for row in sorted({0, len(crowd.prompts) - 1}):
        text = torch.tensor(crowd.prompts[row] + crowd.tokens[row], device=loaded.device)
        first, count = len(crowd.prompts[row]) - 1, len(crowd.tokens[row])
        hidden = loaded.model(text, torch.arange(len(text), device=loaded.device), attend())
        logits = loaded.model.logits(hidden[first : first + count])
        for i, (token, scores) in enumerate(zip(crowd.tokens[row], logits, strict=True)):
            best = int(scores.argmax())
            if token != best:
                forgive(token, best, scores, tolerance, f"request {row}, token {i}")
                near += 1
        compared += count
    return f"{compared} greedy tokens equal to plain attention's" + (
        f", {near} of them near ties" if near else ""
    )
