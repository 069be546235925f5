"""From logits to tokens: what a request asks of its draws, and one function that makes them for a batch of rows.

The steps, in this order, as in transformers' logits processors: logit bias, repetition penalty, presence and frequency
penalties, temperature, top-k, top-p, min-p. Then the draw: argmax(logits / T + g), where g is Gumbel noise. That draws
from softmax(logits / T) exactly (Gumbel, 1954; Maddison et al., 2014). The noise is a hash of (seed, sample, position,
token id), so a draw depends on nothing else: not on the other rows, and not on how many draws came before.
"""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from common.errors import UserError

CANDIDATES = (
    512  # tokens looked at first where few survive; sorting a whole vocabulary costs twenty times more
)
INF = float("inf")


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
        for name, kind, low, high in RANGES:
            value = getattr(self, name)
            if value is None and name in ("max_tokens", "seed"):
                continue
            if not isinstance(value, kind) or not low <= value <= high:  # a NaN is in no range
                what = "whole numbers" if kind is int else "numbers"
                raise UserError(f"{name} = {value!r}: possible are {what} from {low:g} to {high:g}")
        if self.top_p == 0:
            raise UserError("top_p = 0: must be more than that")
        for token, bias in self.logit_bias.items():
            if not isinstance(token, int) or not -INF <= bias < INF:
                raise UserError(f"logit_bias: {token!r} = {bias!r} must be a token id and a finite number")

    @property
    def adjusts(self) -> bool:
        penalties = self.repetition_penalty, self.presence_penalty, self.frequency_penalty
        return bool(self.logit_bias) or penalties != (1, 0, 0)

    @property
    def truncates(self) -> bool:
        return self.top_k > 0 or self.top_p < 1 or self.min_p > 0


RANGES = (
    ("max_tokens", int, 1, INF), ("temperature", (int, float), 0, 100), ("top_k", int, 0, INF),
    ("top_p", (int, float), 0, 1), ("min_p", (int, float), 0, 1), ("repetition_penalty", (int, float), 0.01, 100),
    ("presence_penalty", (int, float), -2, 2), ("frequency_penalty", (int, float), -2, 2),
    ("seed", int, -(2**63), 2**63 - 1), ("sample_index", int, 0, 2**31),
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
    return int(mix(mix(torch.tensor([seed])) + params.sample_index))


EMPTY = torch.empty(0)  # for what no row needs
Rows = slice | Tensor | None  # all of a batch, some, or none


@dataclass(slots=True)
class Sampling:
    """The parameters of each row to be drawn, as tensors. What decides the course of `sample` is known on the host."""

    adjustments: list[Adjustment] = field(default_factory=list)
    free: Rows = None  # rows that draw from the whole vocabulary
    cut: Rows = None  # rows that draw from few tokens
    enough: int = 0  # so many candidates are sure to hold all that `cut` rows may draw
    candidates: int = 0  # and so many are tried first
    values: Tensor = EMPTY  # [4, R] temperature, top-k (0: all), top-p (infinite: all), min-p
    noise: Tensor = EMPTY  # [2, R] noise key, position of the token to be drawn

    @classmethod
    def build(cls, draws: Sequence[Draw], device: torch.device) -> Sampling:
        params = [d.params for d in draws]
        drawn = [row for row, p in enumerate(params) if p.temperature > 0]
        self = cls([Adjustment.build(row, d, device) for row, d in enumerate(draws) if d.params.adjusts])
        self.free = rows([row for row in drawn if not params[row].truncates], len(draws), device)
        self.cut = rows([row for row in drawn if params[row].truncates], len(draws), device)
        if drawn:
            top_ks = [params[row].top_k for row in drawn if params[row].truncates]
            self.enough = max(top_ks, default=0) if all(top_ks) else 2**31
            # On a GPU, asking whether fewer sufficed would make the host wait for it.
            self.candidates = min(CANDIDATES, self.enough) if device.type == "cpu" else self.enough
            values = [
                [max(p.temperature, 1e-30), p.top_k, p.top_p if p.top_p < 1 else INF, p.min_p] for p in params
            ]
            self.values = torch.tensor(values, dtype=torch.float32, device=device).T
            self.noise = torch.tensor([[d.noise_key, len(d.tokens)] for d in draws], device=device).T
        return self


def rows(some: list[int], total: int, device: torch.device) -> Rows:
    if not some:
        return None
    return slice(None) if len(some) == total else torch.tensor(some, device=device)


@dataclass(slots=True)
class Adjustment:
    """What bias and penalties do to one row."""

    row: int
    params: SamplingParams
    biased: Tensor  # ids
    bias: Tensor
    seen: Tensor  # ids of prompt and output
    output: Tensor  # ids of the output, each once
    counts: Tensor  # how often they occur there

    @classmethod
    def build(cls, row: int, draw: Draw, device: torch.device) -> Adjustment:
        p = draw.params
        seen = draw.tokens if p.repetition_penalty != 1 else []
        counts = Counter(draw.tokens[draw.num_prompt_tokens :])
        ids = [list(p.logit_bias), seen, list(counts)]
        biased, seen_ids, output = (torch.tensor(one, dtype=torch.int64, device=device) for one in ids)
        bias = torch.tensor(list(p.logit_bias.values()), dtype=torch.float32, device=device)
        return cls(row, p, biased, bias, seen_ids, output, torch.tensor(list(counts.values()), device=device))

    def apply(self, logits: Tensor) -> None:
        """In place, to [R, vocab]. The penalties of the output are OpenAI's formula."""
        own, p = logits[self.row], self.params
        own[self.biased] += self.bias
        if p.repetition_penalty != 1:  # Keskar et al., 2019, CTRL; a token that occurs twice is written twice
            x = own[self.seen]
            own[self.seen] = torch.where(x > 0, x / p.repetition_penalty, x * p.repetition_penalty)
        if len(self.output):
            own[self.output] -= p.presence_penalty + p.frequency_penalty * self.counts


@dataclass(slots=True)
class SamplerOutput:
    """Of every row, on the device."""

    tokens: Tensor  # [R]


def sample(logits: Tensor, sampling: Sampling) -> SamplerOutput:
    """logits [R, vocab] -> the next token of each row. A row's draw does not depend on the others."""
    logits = logits.float()
    if sampling.adjustments:
        logits = logits.clone()
        for adjustment in sampling.adjustments:
            adjustment.apply(logits)
    tokens = logits.argmax(dim=-1)
    for some, draw in ((sampling.free, draw_free), (sampling.cut, draw_cut)):
        if some is not None:
            own, values, noise = logits[some], sampling.values[:, some], sampling.noise[:, some]
            # On a CPU few rows at a time: their intermediate results fit its cache.
            size = max(1, 2**16 // own.shape[-1]) if own.device.type == "cpu" else len(own)
            parts = zip(own.split(size), values.split(size, dim=1), noise.split(size, dim=1), strict=True)
            tokens[some] = torch.cat([draw(*part, sampling.candidates, sampling.enough) for part in parts])
    return SamplerOutput(tokens)


def draw_free(logits: Tensor, values: Tensor, noise: Tensor, count: int, enough: int) -> Tensor:
    """From all tokens: [R, vocab] -> [R]."""
    ids = torch.arange(logits.shape[-1], device=logits.device)
    return scale(logits, values[0, :, None]).add_(gumbel(noise, ids)).argmax(dim=-1)


def draw_cut(logits: Tensor, values: Tensor, noise: Tensor, count: int, enough: int) -> Tensor:
    """From the tokens that top-k, top-p and min-p leave: [R, vocab] -> [R].

    Only the `count` likeliest are looked at. Where all of them survive there may be more: such rows are drawn again.
    """
    ids, scaled, kept = survivors(logits, values, count)
    dropped = torch.arange(ids.shape[-1], device=ids.device) >= kept[:, None]
    scores = (scaled + gumbel(noise, ids)).masked_fill_(dropped, -INF)
    tokens = ids.gather(1, scores.argmax(dim=-1, keepdim=True))[:, 0]
    if count < min(enough, vocab := logits.shape[-1]):
        again = (kept >= count).nonzero()[:, 0]
        if len(again):
            more = 16 * count if 64 * count < vocab else vocab
            tokens[again] = draw_cut(logits[again], values[:, again], noise[:, again], more, enough)
    return tokens


def survivors(logits: Tensor, values: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The likeliest tokens, and how many of them may be drawn.

    Args:
        logits: [R, vocab]
        values: [4, R]: temperature, top-k, top-p, min-p.

    Returns:
        ids [R, C] with C = count or the vocabulary, likeliest first; their scaled logits [R, C], the first one's 0; how
        many survive, [R]: always the first ones, at least one. C or more where there may be others behind them.
    """
    temperature, top_k, top_p, min_p = values[:, :, None]
    ids = likeliest(logits, count)
    scaled = scale(logits, temperature)
    best = scaled.gather(1, ids)
    weights = best.exp()  # probabilities, but for a factor
    mass = weights.cumsum(dim=-1)
    count, vocab = best.shape[-1], logits.shape[-1]
    limit = torch.where(top_k > 0, top_k.clamp(max=vocab), vocab).long()
    left = mass.gather(1, limit.clamp(max=count) - 1)  # by top-k
    total = torch.where(limit < vocab, left, scaled.exp_().sum(dim=-1, keepdim=True))
    kept = 1 + (mass < top_p * total).sum(dim=-1, keepdim=True)  # the smallest set that reaches top_p of that
    kept = kept.minimum(limit).minimum((weights >= min_p).sum(dim=-1, keepdim=True)).clamp(min=1)
    unknown = (limit > count) & (limit < vocab)  # a top-k that reaches further than we looked
    return ids, best, kept.masked_fill(unknown, count)[:, 0]


def scale(logits: Tensor, temperature: Tensor) -> Tensor:
    """logits [R, vocab] / temperature [R, 1], moved so that the highest is 0: dividing that by little stays finite."""
    return (logits - logits.amax(dim=-1, keepdim=True)).div_(temperature)


def likeliest(logits: Tensor, count: int) -> Tensor:
    """logits [R, vocab] -> ids of the highest ones, [R, C], in order; of equal ones the smaller id comes first.

    topk alone picks any of equal ones, others for another count. So each logit becomes an integer that no other has: the
    bits of floats are ordered as their values are, once those of negative ones are turned around, and below them goes the id.
    """
    vocab = logits.shape[-1]
    bits = logits.view(torch.int32)
    keys = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).long() << 32
    keys -= torch.arange(vocab, device=logits.device)
    return -keys.topk(min(count, vocab), dim=-1).values & 0xFFFFFFFF


def gumbel(noise: Tensor, ids: Tensor) -> Tensor:
    """noise [2, R] (key, position), ids [vocab] or [R, C] -> a standard Gumbel variate for each, float32, never infinite.

    Each sample has a splitmix64 generator whose numbers seed one for each position, whose numbers are for the tokens.
    """
    key, position = noise
    bits = mix(mix(key + position * GOLDEN)[:, None] + ids * GOLDEN)
    bits &= 2**63 - 1
    # Tokens win by large noise, which comes from small numbers, and those keep their 24 digits in a float.
    uniform = bits.float().add_(1).mul_(2.0**-63).clamp_(max=1 - 2.0**-24)
    return uniform.neg_().log1p_().neg_().log_().neg_()


GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15, an odd number near 2**64 over the golden ratio


def mix(x: Tensor) -> Tensor:
    """splitmix64 (Steele et al., 2014) on int64: of a seed x the first number, of x + i * GOLDEN the one i later."""
    x = fold(x + GOLDEN, 30).mul_(-4658895280553007687)
    x = fold(x, 27).mul_(-7723592293110705685)
    return fold(x, 31)


def fold(x: Tensor, shift: int) -> Tensor:
    """x ^ (x >> shift), in place; the mask takes away the copies of the sign."""
    return x.bitwise_xor_((x >> shift).bitwise_and_(2 ** (64 - shift) - 1))
