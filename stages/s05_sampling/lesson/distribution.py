"""What the sampler draws from, as probabilities: its own steps, up to the draw. And two numbers that say how wide it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..engine import sampler
from ..engine.sampler import SamplingParams


@dataclass(slots=True)
class Text:
    """A text whose next token is drawn, as the sampler wants to know it."""

    params: SamplingParams
    tokens: list[int] = field(default_factory=list)  # prompt and output
    num_prompt_tokens: int = 0
    noise_key: int = 0


def text(params: SamplingParams, tokens: Sequence[int] = (), num_prompt_tokens: int = 0) -> Text:
    """With the noise of the parameters' seed."""
    return Text(params, list(tokens), num_prompt_tokens, sampler.noise_key(params))


def distribution(logits: Tensor, one: Text) -> Tensor:
    """logits [vocab] -> the probability of each token to be drawn, [vocab]; the likeliest has all of it when greedy."""
    sampling = sampler.Sampling.build([one], logits.device)
    rows = logits[None].float().clone()
    for adjustment in sampling.adjustments:
        adjustment.apply(rows)
    chances = torch.zeros_like(rows[0])
    if sampling.cut is not None:
        ids, scaled, kept = sampler.survivors(rows, sampling.values, rows.shape[-1])
        count = int(kept)
        chances[ids[0, :count]] = scaled[0, :count].softmax(-1)
    elif sampling.free is not None:
        chances = sampler.scale(rows, sampling.values[0, :, None])[0].softmax(-1)
    else:
        chances[rows[0].argmax()] = 1.0
    return chances


def entropy(chances: Tensor) -> float:
    """In nats (Shannon, 1948): 0 where one token has everything, log(n) for n equal ones."""
    return float(torch.special.entr(chances.double()).sum())


def effective(nats: float) -> float:
    """How many equally likely tokens would be as uncertain."""
    return math.exp(nats)
