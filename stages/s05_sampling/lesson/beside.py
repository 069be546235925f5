"""A draw beside the decode step before it: what share of a step it adds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from common.bench.harness import show_table
from common.bench.measure import Result, median, now
from common.terminal.console import heading, progress

from ..engine import sampler
from ..engine.sampler import Sampling, SamplingParams
from .distribution import draw_after
from .reference import Processors
from .work import LABELS, DecodeStep, strategies


@torch.inference_mode()
def measure_share(result: Result, step: DecodeStep, repeats: int, device: torch.device) -> None:
    """Runs a decode step before each draw, so that both find the processor's caches as they are during generation."""
    seconds: dict[str, list[float]] = {"step": []}
    ways = drawing_from_step(step)
    with progress(step.name, repeats + 1) as advance:
        for turn in range(repeats + 1):
            for name, way in ways.items():
                spent, drawn = timed_pair(step, way, device)
                if turn:  # the first turn warms up
                    seconds["step"].append(spent)
                    seconds.setdefault(name, []).append(drawn)
            advance()
    record_share(result, step, seconds)


def drawing_from_step(step: DecodeStep) -> dict[str, Callable[[Tensor], Any]]:
    """Each way to draw, as a function of fresh logits [vocab]."""

    def ours(params: SamplingParams) -> Callable[[Tensor], Any]:
        draws = [draw_after(params, step.tokens, 16)]
        return lambda logits: sampler.sample(logits[None], Sampling.build(draws, logits.device)).tokens

    processors = Processors(dict(strategies())["full"])
    return {name: ours(params) for name, params in strategies()} | {
        "transformers": lambda logits: processors.draw(logits, step.tokens),
    }


def timed_pair(step: DecodeStep, way: Callable[[Tensor], Any], device: torch.device) -> tuple[float, float]:
    """Seconds of a decode step and of the draw after it."""
    start = now(device)
    computed = step()
    spent = now(device) - start
    logits = step.logits(computed)
    start = now(device)
    way(logits)
    return spent, now(device) - start


def record_share(result: Result, step: DecodeStep, seconds: dict[str, list[float]]) -> None:
    whole = median(seconds["step"])
    result.add_times(f"step_{step.slug}", seconds.pop("step"), "ms")
    for name, samples in seconds.items():
        result.add_times(f"{name}_after_{step.slug}", samples, "ms")
        result.add(f"share_{name}_{step.slug}", 100 * median(samples) / whole, "%")
    for name, way in (("sampled", "full"), ("greedy", "greedy")):
        both = 1e3 * (whole + median(seconds[way]))
        result.add(f"{name}_step_{step.slug}", both, "ms", note=f"step and {LABELS[way]}")
    heading(f"Beside a decode step of {step.name}: {1e3 * whole:.1f} ms, vocabulary {step.vocab:,}")
    columns = {
        "ms": (f"{{}}_after_{step.slug}", "{:.2f}"),
        "of the step": (f"share_{{}}_{step.slug}", "{:.1f} %"),
    }
    show_table(result, "way", {name: LABELS[name] for name in seconds}, columns)
