"""What the sampler draws from, as probabilities: its own steps, up to the draw. And two numbers that say how wide it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..engine import sampler
from ..engine.sampler import Draw, Sampling, SamplingParams, TokenCounts


@dataclass(slots=True)
class Request:
    """What the sampler needs to know about a text."""

    params: SamplingParams
    noise_key: int
    counts: TokenCounts


def draw_after(params: SamplingParams, tokens: Sequence[int] = (), num_prompt_tokens: int = 0) -> Draw:
    """The draw after `tokens`, of which the first are the prompt, with the noise of the parameters' seed."""
    counts = TokenCounts(params, tokens[:num_prompt_tokens])
    for token in tokens[num_prompt_tokens:]:
        counts.add(token)
    return Draw(Request(params, sampler.noise_key(params), counts), len(tokens))


def distribution(logits: Tensor, draw: Draw) -> Tensor:
    """logits [vocab] -> the probability that each token is drawn, [vocab]; all of it on the likeliest one if greedy."""
    sampling = Sampling.build([draw], logits.device)
    rows = sampler.adjust(logits[None].float(), sampling)
    if not len(sampling.drawn):
        return torch.zeros_like(rows[0]).index_fill(0, rows[0].argmax(), 1.0)
    scores = sampler.scale(rows, sampling.temperature)
    if len(sampling.truncated):
        scores = sampler.truncate(scores, *sampling.limits)
    return scores[0].softmax(-1)


def entropy(chances: Tensor) -> float:
    """In nats (Shannon, 1948): 0 if one token has all the probability, log(n) for n equally likely ones."""
    return float(torch.special.entr(chances.double()).sum())


def effective(nats: float) -> float:
    """How many equally likely tokens would be as uncertain."""
    return math.exp(nats)
