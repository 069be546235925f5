"""Timed generations of one text: without a cache, with it, and by transformers.

A run keeps the time of every token, so one run to 1,000 tokens also says how long 64 of them took.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from common.equality import Tally, assert_same_tokens, near_tie_rule
from common.loader import save_model
from common.models import Model


@dataclass(slots=True)
class Run:
    """New tokens, without the prompt, and the seconds from the start until each was there."""

    prompt: int  # tokens
    tokens: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def until(self, total: int) -> float:
        """Seconds until the text, prompt included, had `total` tokens."""
        return self.seconds[total - self.prompt - 1]

    def step(self, total: int, around: int = 8) -> float:
        """Seconds per token when the text had `total`: the mean of the last `around` steps."""
        at = total - self.prompt - 1
        first = max(0, at - around)
        return (self.seconds[at] - self.seconds[first]) / (at - first)

    @property
    def decode_rate(self) -> float:
        """Tokens/s after the first token, which the prefill makes."""
        return (len(self.seconds) - 1) / (self.seconds[-1] - self.seconds[0])


def timed(prompt: int, tokens: Iterable[int]) -> Run:
    """Consumes `tokens` against the clock. Each is an int on the CPU, so a GPU has finished it."""
    run, start = Run(prompt), perf_counter()
    for token in tokens:
        run.seconds.append(perf_counter() - start)
        run.tokens.append(token)
    return run


def generated(engine: ModuleType, model: Model, prompt: Sequence[int], total: int) -> Iterable[int]:
    """An engine's tokens up to `total` with the prompt, end tokens or not."""
    return (token.id for token in engine.generate(model, prompt, total - len(prompt)))


def stepwise(
    engine: ModuleType, model: Model, text: Sequence[int], prompt: int, total: int, every: int = 0
) -> tuple[Run, list[tuple[int, Any]]]:
    """Times an engine without a cache on a known `text`: each of its steps runs over a longer beginning of it.

    Args:
        text: prompt and new tokens, at least `total`.
        every: if not 0, of every n // every steps (n the length) one is run and stands for them. Their time depends on
            the length alone, and all of them would take minutes with a larger model.

    Returns:
        the run, and (position, step) of each step that was run, for checking.
    """
    run, steps, n = Run(prompt), [], prompt
    while n < total:
        width = min(max(1, n // every) if every else 1, total - n)
        at = n + width // 2
        start = perf_counter()
        step = next(iter(engine.generate(model, text[:at], 1)))
        seconds = perf_counter() - start
        steps.append((at, step))
        for i in range(width):
            run.tokens.append(text[n + i])
            run.seconds.append((run.seconds[-1] if run.seconds else 0.0) + seconds)
        n += width
    return run, steps


class Twin:
    """The same weights in transformers. Raises ImportError where it is not installed."""

    def __init__(self, model: Model, folder: Path, dtype: torch.dtype | None = None):
        from transformers import AutoModelForCausalLM, GenerationConfig
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        save_model(model, folder, model.dtype)
        theirs: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype or model.dtype)
        self.model: Any = theirs.to(model.device).eval()
        self.model.generation_config = GenerationConfig(do_sample=False, pad_token_id=0)  # no end token

    def run(self, prompt: Sequence[int], total: int) -> Run:
        """`generate()` with its defaults: greedy, with its own cache."""
        clock = Clock()
        ids = torch.tensor([list(prompt)], device=self.model.device)
        start = perf_counter()
        made = self.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=total - len(prompt),
            streamer=clock,
        )
        seconds = [time - start for time in clock.times[1:]]
        return Run(len(prompt), made[0, len(prompt) :].tolist(), seconds)

    @torch.inference_mode()
    def logits(self, tokens: Sequence[int]) -> Tensor:
        """[vocab_size], of what follows `tokens`."""
        scores: Tensor = self.model(torch.tensor([list(tokens)], device=self.model.device)).logits
        return scores[0, -1].float()


class Clock:
    """Takes the place of a transformers streamer: it receives the prompt, then each token as soon as it is chosen."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def put(self, tokens: Tensor) -> None:
        self.times.append(perf_counter())

    def end(self) -> None:
        pass


def check_against(
    twin: Twin,
    engine: ModuleType,
    model: Model,
    prompt: Sequence[int],
    ours: Sequence[int],
    theirs: Sequence[int],
) -> Tally:
    """Our tokens against transformers'. Raises AssertionError at the first that really differs."""
    total = len(prompt) + len(theirs)
    return assert_same_tokens(
        lambda begun: generated(engine, model, [*prompt, *begun], total) if begun else ours,
        theirs,
        lambda i: twin.logits([*prompt, *theirs[:i]]),
        **near_tie_rule(model.dtype),
    )


def check_steps(
    text: Sequence[int], steps: Sequence[tuple[int, Any]], dtype: torch.dtype, tally: Tally | None = None
) -> Tally:
    """The text against what single steps over its beginnings chose. Raises AssertionError where one differs."""
    ours = [text[at] for at, _ in steps]
    return assert_same_tokens(
        lambda begun: ours[len(begun) :],
        [step.id for _, step in steps],
        lambda i: steps[i][1].logits.float(),
        tally=tally,
        **near_tie_rule(dtype),
    )
