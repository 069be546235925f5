"""Logit bias and penalties: kept for each request as running amounts, and applied to a batch of logits."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .sampler import Sampling, SamplingParams


class Amounts:
    """Token ids and a number for each, in flat arrays: joining those of many requests only copies memory."""

    def __init__(self, amounts: Mapping[int, float]):
        self.ids, self.values = array("q", amounts), array("d", amounts.values())
        self.index = {token: i for i, token in enumerate(amounts)}

    def add(self, token: int, first: float, more: float) -> None:
        """A new token gets `first`; any other gets `more` on top of what it has."""
        i = self.index.setdefault(token, len(self.ids))
        if i == len(self.ids):
            self.ids.append(token)
            self.values.append(first)
        else:
            self.values[i] += more


class TokenCounts:
    """What bias and penalties do to the logits of one request, kept up to date token by token, so that no step has to count."""

    def __init__(self, params: SamplingParams, prompt_tokens: Sequence[int]):
        p = self.params = params
        self.bias = Amounts(p.logit_bias)
        seen = prompt_tokens if p.repetition_penalty != 1 else ()
        self.repetition = Amounts(dict.fromkeys(seen, p.repetition_penalty))  # tokens of prompt and output
        self.penalty = Amounts({})  # presence + frequency * count, for tokens of the output

    def add(self, token: int) -> None:
        """Counts a new token of the output."""
        p = self.params
        if p.repetition_penalty != 1:
            self.repetition.add(token, p.repetition_penalty, 0.0)
        if p.presence_penalty or p.frequency_penalty:
            self.penalty.add(token, p.presence_penalty + p.frequency_penalty, p.frequency_penalty)


Flat = tuple[Tensor, Tensor, Tensor] | None  # rows, token ids, amounts: one entry per pair of row and token


def flatten(rows: Iterable[tuple[int, Amounts]], device: torch.device) -> Flat:
    row, ids, values = array("q"), array("q"), array("d")
    for number, amounts in rows:
        row += array("q", [number]) * len(amounts.ids)
        ids += amounts.ids
        values += amounts.values
    if not ids:
        return None
    row_of, id_of = (torch.frombuffer(part, dtype=torch.int64).to(device) for part in (row, ids))
    return row_of, id_of, torch.frombuffer(values, dtype=torch.float64).float().to(device)


def adjust(logits: Tensor, sampling: Sampling) -> Tensor:
    """Logit bias and penalties, for all rows at once: [R, vocab] -> [R, vocab]."""
    if sampling.bias:
        rows, ids, bias = sampling.bias
        logits = logits.index_put((rows, ids), bias, accumulate=True)
    if sampling.repetition:  # Keskar et al., 2019, CTRL
        rows, ids, penalty = sampling.repetition
        x = logits[rows, ids]
        logits = logits.index_put((rows, ids), torch.where(x > 0, x / penalty, x * penalty))
    if sampling.penalty:  # OpenAI's formula
        rows, ids, penalty = sampling.penalty
        logits = logits.index_put((rows, ids), -penalty, accumulate=True)
    return logits
