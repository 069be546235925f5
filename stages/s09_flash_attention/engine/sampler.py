"""From logits to tokens: the sampling parameters of a request, and one function that draws for a batch of rows.

`sample` applies the steps of transformers' logits processors in their order: logit bias and penalties (`adjust`),
temperature (`scale`), top-k, top-p and min-p (`truncate`). Then it adds Gumbel noise and takes the highest score:
argmax(logits / T + g) is a draw from softmax(logits / T), exactly (Gumbel, 1954; Maddison et al., 2014). The noise is
a hash of (seed, sample, position, token id), so a draw depends on nothing else: not on the other rows, and not on how
many draws came before.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from common.errors import UserError
from common.options import Options, has_type, option, shown, strings

from .noise import gumbel, mix
from .penalties import Flat, TokenCounts, adjust, flatten

INF = float("inf")
EMPTY = torch.empty(0)


@dataclass(frozen=True, slots=True)
class SamplingParams(Options):
    max_tokens: int | None = option(16, "None: to the end of the window", least=1)
    stop: tuple[str, ...] = ()  # strings that end the text and are not part of it
    ignore_eos: bool = option(False, "go on after the model's end token: for benchmarks")
    temperature: float = option(0.0, "0: the likeliest token", least=0, most=100)
    top_k: int = option(0, "draw from this many tokens; 0: all", least=0, most=2**31)
    top_p: float = option(1.0, "draw from the fewest tokens that are this likely together", least=0, most=1)
    min_p: float = option(0.0, "lowest probability, relative to the likeliest token's", least=0, most=1)
    repetition_penalty: float = option(1.0, "for tokens of prompt and output", least=0.01, most=100)
    presence_penalty: float = option(0.0, "for tokens of the output", least=-2, most=2)
    frequency_penalty: float = option(0.0, "for each time they occur there", least=-2, most=2)
    logit_bias: Mapping[int, float] = field(default_factory=dict)  # added to a token's logit; -inf is a ban
    seed: int | None = option(None, "None: a different one each time", least=-(2**63), most=2**63 - 1)
    sample_index: int = option(0, "tells several samples of one seed apart", least=0, most=2**31)

    def __post_init__(self) -> None:
        Options.__post_init__(self)
        object.__setattr__(self, "stop", strings("stop", self.stop))
        if not isinstance(self.logit_bias, Mapping):
            raise UserError(f"logit_bias: must map token ids to numbers, not {shown(self.logit_bias)}")
        for token, bias in self.logit_bias.items():
            if not has_type(token, int) or not has_type(bias, float) or not -INF <= bias < INF:
                raise UserError(
                    f"logit_bias: must map token ids to finite numbers, not {shown({token: bias})}"
                )

    @property
    def adjusts(self) -> bool:
        penalties = self.repetition_penalty, self.presence_penalty, self.frequency_penalty
        return bool(self.logit_bias) or penalties != (1, 0, 0)

    @property
    def truncates(self) -> bool:
        return self.top_k > 0 or self.top_p < 1 or self.min_p > 0

    @property
    def limits(self) -> tuple[float, float, float]:
        """Top-k, top-p, min-p: infinite, infinite and 0 where all tokens may be drawn."""
        return self.top_k or INF, self.top_p if self.top_p < 1 else INF, self.min_p


class Sampled(Protocol):
    """What the sampler needs to know about a request."""

    params: SamplingParams
    noise_key: int  # made once per request
    counts: TokenCounts


@dataclass(frozen=True, slots=True)
class Draw:
    """One position of a request's text at which a token is drawn."""

    request: Sampled
    position: int


def noise_key(params: SamplingParams) -> int:
    """The 64 bits that stand for seed and sample index in the noise."""
    seed = secrets.randbits(63) if params.seed is None else params.seed
    return int(mix(mix(torch.tensor([seed])) + params.sample_index))


@dataclass(slots=True)
class Sampling:
    """The parameters of R rows, as tensors. Which rows take which step is known on the host, so no device is asked."""

    bias: Flat = None
    repetition: Flat = None
    penalty: Flat = None
    drawn: Tensor = EMPTY  # [D] rows with a temperature; the others are greedy
    temperature: Tensor = EMPTY  # [D, 1]
    noise: Tensor = EMPTY  # [2, D] noise key, position
    truncated: Tensor = EMPTY  # [T] which of the drawn rows have limits
    limits: Tensor = EMPTY  # [3, T, 1] top-k, top-p, min-p

    @classmethod
    def build(cls, draws: Sequence[Draw], device: torch.device) -> Sampling:
        self, params = cls(), [draw.request.params for draw in draws]
        if adjusted := [(row, draws[row].request.counts) for row, p in enumerate(params) if p.adjusts]:
            self.bias = flatten(((row, counts.bias) for row, counts in adjusted), device)
            self.repetition = flatten(((row, counts.repetition) for row, counts in adjusted), device)
            self.penalty = flatten(((row, counts.penalty) for row, counts in adjusted), device)
        if drawn := [row for row, p in enumerate(params) if p.temperature > 0]:
            self.drawn = torch.tensor(drawn, device=device)
            temperature = torch.tensor([[max(params[row].temperature, 1e-30)] for row in drawn])
            self.temperature = temperature.to(device)
            keys = [[draws[row].request.noise_key, draws[row].position] for row in drawn]
            self.noise = torch.tensor(keys, device=device).T
        if truncated := [i for i, row in enumerate(drawn) if params[row].truncates]:
            self.truncated = torch.tensor(truncated, device=device)
            limits = torch.tensor([params[drawn[i]].limits for i in truncated], dtype=torch.float32)
            self.limits = limits.T[:, :, None].to(device)
        return self


@dataclass(slots=True)
class SamplerOutput:
    """One entry per row, on the device."""

    tokens: Tensor  # [R]; -1 where there was nothing to draw from


def sample(logits: Tensor, sampling: Sampling) -> SamplerOutput:
    """logits [R, vocab] -> the next token of each row. A row's draw does not depend on the others.

    The token is -1 where the highest logit is not a finite number: in a row with a NaN, or with nothing but -inf.
    """
    logits = adjust(logits.float(), sampling)
    tokens, highest = logits.argmax(dim=-1), logits.amax(dim=-1)
    if len(sampling.drawn):
        scores = scale(logits[sampling.drawn], sampling.temperature)
        if len(sampling.truncated):
            scores[sampling.truncated] = truncate(scores[sampling.truncated], *sampling.limits)
        scores += gumbel(sampling.noise, torch.arange(logits.shape[-1], device=logits.device))
        tokens[sampling.drawn] = scores.argmax(dim=-1)
    return SamplerOutput(tokens.masked_fill(~highest.isfinite(), -1))


def scale(logits: Tensor, temperature: Tensor) -> Tensor:
    """logits [D, vocab] / temperature [D, 1], shifted so that the highest is 0, which even a tiny temperature keeps finite."""
    return (logits - logits.amax(dim=-1, keepdim=True)) / temperature


def by_likelihood(scores: Tensor) -> Tensor:
    """scores [T, vocab], none above 0 -> token ids [T, vocab], likeliest first, equal ones in order of their ids.

    The bits of floats with one sign are ordered as the floats are. So all rows are sorted as one list of integers, each
    with its row in front: a CPU does that ten times faster than it sorts floats.
    """
    rows = torch.arange(len(scores), device=scores.device)[:, None]
    keys = (rows << 32) + scores.abs().view(torch.int32)
    return keys.flatten().sort(stable=True).indices.view(scores.shape) - rows * scores.shape[-1]


def truncate(scores: Tensor, top_k: Tensor, top_p: Tensor, min_p: Tensor) -> Tensor:
    """Top-k, top-p, min-p [T, 1]: scores [T, vocab], the highest 0 -> the same, with -inf for tokens not to be drawn.

    Sorted by likelihood, the tokens that stay are always the first few. So each limit becomes a number, how many stay,
    and the smallest one holds. Top-k keeps exactly k: of equal logits at the k-th place those with the smaller ids,
    because the sort is stable. (transformers keeps all that equal the k-th.)
    """
    ids = by_likelihood(scores)
    ordered = scores.gather(-1, ids)
    weights = ordered.exp()  # probabilities, relative to the likeliest token's
    mass = weights.cumsum(dim=-1)
    keep = top_k.clamp(max=scores.shape[-1]).long()
    total = mass.gather(-1, keep - 1)  # of what top-k leaves
    keep = keep.minimum(1 + (mass < top_p * total).sum(dim=-1, keepdim=True))
    keep = keep.minimum((weights >= min_p).sum(dim=-1, keepdim=True))
    dropped = torch.arange(scores.shape[-1], device=scores.device) >= keep
    return torch.empty_like(scores).scatter_(-1, ids, ordered.masked_fill(dropped, -INF))
