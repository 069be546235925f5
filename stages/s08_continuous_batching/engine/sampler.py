"""From logits to tokens: what a request asks of its draws, and one function that makes them for a batch of rows.

The steps, in this order, as in transformers' logits processors: logit bias, repetition penalty, presence and frequency
penalties, temperature, top-k, top-p, min-p. Then the draw: argmax(logits / T + g), where g is Gumbel noise. That draws
from softmax(logits / T) exactly (Gumbel, 1954; Maddison et al., 2014). The noise is a hash of (seed, sample, position,
token id), so a draw depends on nothing else: not on the other rows, and not on how many draws came before.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from common.errors import UserError

CANDIDATES = 1024  # tokens looked at first where few survive; sorting a whole vocabulary costs ten times more


@dataclass(frozen=True, slots=True)
class SamplingParams:
    max_tokens: int | None = 16  # None: to the end of the window
    stop: tuple[str, ...] = ()  # strings that end the text and are not part of it
    ignore_eos: bool = False  # go on after the model's end token: for benchmarks
    temperature: float = 0.0  # 0: the likeliest token
    top_k: int = 0  # 0: all tokens
    top_p: float = 1.0
    min_p: float = 0.0  # tokens less likely than this share of the likeliest are dropped
    repetition_penalty: float = 1.0  # for tokens of the prompt and the output
    presence_penalty: float = 0.0  # for tokens of the output
    frequency_penalty: float = 0.0  # for each time they occur there
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = None  # None: another one each time
    sample_index: int = 0  # tells apart several samples of one seed

    def __post_init__(self) -> None:
        if not all(self.stop):
            raise UserError("stop: a stop string must not be empty")
        for name, low, high in RANGES:
            value = getattr(self, name)
            if value is not None and not low <= value <= high:  # a NaN is in no range
                raise UserError(f"{name} = {value!r}: possible are {low:g} to {high:g}")
        if self.repetition_penalty == 0 or self.top_p == 0:
            raise UserError("repetition_penalty and top_p must be more than 0")

    @property
    def truncates(self) -> bool:
        return self.top_k > 0 or self.top_p < 1 or self.min_p > 0


INF = float("inf")
RANGES = (
    ("max_tokens", 1, INF), ("temperature", 0, 100), ("top_k", 0, INF), ("top_p", 0, 1), ("min_p", 0, 1),
    ("repetition_penalty", 0, 100), ("presence_penalty", -2, 2), ("frequency_penalty", -2, 2),
    ("seed", -(2**63), 2**63 - 1),
)  # fmt: skip


class Draw(Protocol):
    """Whose next token is drawn."""

    params: SamplingParams
    noise_key: int  # from `noise_key`, once a request
    tokens: list[int]  # prompt and output
    num_prompt_tokens: int


def noise_key(params: SamplingParams) -> int:
    """The 64 bits that stand for seed and sample index in the noise."""
    seed = secrets.randbits(63) if params.seed is None else params.seed
    key = torch.tensor([seed]), torch.tensor([params.sample_index])
    return int(mix(mix(key[0]) + key[1]))


EMPTY = torch.empty(0)  # for what no row needs


@dataclass(slots=True)
class Sampling:
    """The parameters of each row to be drawn, as tensors. What decides the course of `sample` is known on the host."""

    draws: Sequence[Draw]
    free: list[int] = field(default_factory=list)  # rows that draw from the whole vocabulary
    cut: list[int] = field(default_factory=list)  # rows that draw from few tokens
    adjusted: list[int] = field(default_factory=list)  # rows with a penalty or a bias
    largest_top_k: int = 0
    values: Tensor = EMPTY  # [4, R] temperature, top-k (0: all), top-p, min-p
    noise: Tensor = EMPTY  # [2, R] noise key, position of the token to be drawn

    @classmethod
    def build(cls, draws: Sequence[Draw], device: torch.device) -> Sampling:
        self = cls(draws)
        params = [d.params for d in draws]
        for row, p in enumerate(params):
            if p.temperature > 0:
                (self.cut if p.truncates else self.free).append(row)
            if p.logit_bias or (p.repetition_penalty, p.presence_penalty, p.frequency_penalty) != (1, 0, 0):
                self.adjusted.append(row)
        if self.cut or self.free:
            self.largest_top_k = max(p.top_k for p in params)
            values = [[p.temperature for p in params], [float(p.top_k) for p in params],
                      [p.top_p for p in params], [p.min_p for p in params]]  # fmt: skip
            self.values = torch.tensor(values, device=device)
            self.noise = torch.tensor(
                [[d.noise_key for d in draws], [len(d.tokens) for d in draws]], device=device
            )
        return self


@dataclass(slots=True)
class SamplerOutput:
    """Of every row, on the device."""

    tokens: Tensor  # [R]


def sample(logits: Tensor, sampling: Sampling) -> SamplerOutput:
    """logits [R, vocab] -> the next token of each row. A row's draw does not depend on the others."""
    logits = logits.float()
    if sampling.adjusted:
        logits = logits.clone()
        for row in sampling.adjusted:
            adjust(logits[row], sampling.draws[row])
    tokens = logits.argmax(dim=-1)
    for rows, draw in ((sampling.free, draw_free), (sampling.cut, draw_cut)):
        if len(rows) == len(tokens):
            tokens = draw(logits, sampling.values, sampling.noise, sampling.largest_top_k)
        elif rows:
            some = torch.tensor(rows, device=logits.device)
            values, noise = sampling.values[:, some], sampling.noise[:, some]
            tokens[some] = draw(logits[some], values, noise, sampling.largest_top_k)
    return SamplerOutput(tokens)


def adjust(logits: Tensor, draw: Draw) -> None:
    """Bias and penalties of one row, in place. logits [vocab]."""
    p, device = draw.params, logits.device
    if p.logit_bias:
        logits[torch.tensor(list(p.logit_bias), device=device)] += torch.tensor(
            list(p.logit_bias.values()), dtype=torch.float32, device=device
        )
    if p.repetition_penalty != 1:
        seen = torch.tensor(sorted(set(draw.tokens)), device=device)
        x = logits[seen]
        logits[seen] = torch.where(x > 0, x / p.repetition_penalty, x * p.repetition_penalty)
    output = draw.tokens[draw.num_prompt_tokens :]
    if output and (p.presence_penalty or p.frequency_penalty):
        ids, counts = torch.tensor(output, device=device).unique(return_counts=True)
        logits[ids] -= p.presence_penalty + p.frequency_penalty * counts


def draw_free(logits: Tensor, values: Tensor, noise: Tensor, largest_top_k: int) -> Tensor:
    """From all tokens: [R, vocab] -> [R]."""
    ids = torch.arange(logits.shape[-1], device=logits.device)
    return (logits / values[0, :, None] + gumbel(noise, ids)).argmax(dim=-1)


def draw_cut(logits: Tensor, values: Tensor, noise: Tensor, largest_top_k: int) -> Tensor:
    """From the tokens that top-k, top-p and min-p leave: [R, vocab] -> [R]."""
    temperature, top_k, top_p, min_p = values
    ids, scaled = survivors(logits / temperature[:, None], top_k, top_p, min_p, largest_top_k)
    return ids.gather(1, (scaled + gumbel(noise, ids)).argmax(dim=-1, keepdim=True))[:, 0]


def survivors(
    scaled: Tensor, top_k: Tensor, top_p: Tensor, min_p: Tensor, largest_top_k: int
) -> tuple[Tensor, Tensor]:
    """scaled [R, vocab] -> ids and logits, likeliest first, [R, C]; -inf where a token is dropped.

    Tokens beyond the first C matter to a row only if its last one survives. Then, and on a GPU, where asking would
    make the host wait, all are sorted.
    """
    vocab = scaled.shape[-1]
    size = min(vocab, max(CANDIDATES, largest_top_k + 1))
    for count in (size, vocab) if scaled.device.type == "cpu" else (vocab,):
        best, ids = scaled.topk(count, dim=-1)
        keep = torch.arange(count, device=scaled.device) < torch.where(top_k > 0, top_k, vocab)[:, None]
        total = torch.where(top_k > 0, best.masked_fill(~keep, -INF).logsumexp(-1), scaled.logsumexp(-1))
        p = (best - total[:, None]).exp()
        keep &= (p.cumsum(dim=-1) - p < top_p[:, None]) | (top_p >= 1)[
            :, None
        ]  # the smallest set that reaches top_p
        keep &= p >= min_p[:, None] * p[:, :1]
        keep[:, 0] = True
        if count == vocab or not keep[:, -1].any():
            break
    return ids, best.masked_fill(~keep, -INF)


def gumbel(noise: Tensor, ids: Tensor) -> Tensor:
    """noise [2, R] (key, position), ids [vocab] or [R, C] -> a standard Gumbel variate for each, float32."""
    key, position = noise
    row = mix(key + mix(position))[:, None]
    uniform = ((mix(row + mix(ids)) >> 40) & 0xFFFFFF).float()  # 24 bits: as many as a float32 holds
    return -torch.log(-torch.log((uniform + 0.5) / 2**24))


def mix(x: Tensor) -> Tensor:
    """splitmix64's finaliser (Steele et al., 2014) on int64: each bit of the result depends on every bit of x."""
    x = x + -7046029254386353131  # 0x9E3779B97F4A7C15: else zero stays zero
    x = (x ^ ((x >> 30) & 0x3FFFFFFFF)) * -4658895280553007687  # the mask makes the shift a logical one
    x = (x ^ ((x >> 27) & 0x1FFFFFFFFF)) * -7723592293110705685
    return x ^ ((x >> 31) & 0x1FFFFFFFF)
