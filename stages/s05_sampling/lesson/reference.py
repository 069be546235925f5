"""Other ways to the same distribution, to compare with: masks over sorted probabilities, and transformers' processors.

transformers draws with torch's shared generator, so there the same seed gives another text in another batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..engine.sampler import SamplingParams


def sorted_probabilities(logits: Tensor, params: SamplingParams) -> tuple[Tensor, Tensor]:
    """logits [vocab] -> all ids, likeliest first (of equal ones the smaller id first), and their probabilities. No penalties."""
    scaled, ids = (logits.float() / params.temperature).sort(descending=True, stable=True)
    if params.top_k:
        scaled[params.top_k :] = -torch.inf
    chances = scaled.softmax(-1)
    if params.top_p < 1:
        before = chances.cumsum(-1) - chances
        scaled[before >= params.top_p] = -torch.inf
    if params.min_p:
        scaled[chances < params.min_p * chances[0]] = -torch.inf
    return ids, scaled.softmax(-1)


class Processors:
    """The list that transformers' generate() makes of the same parameters. Raises ImportError without transformers."""

    def __init__(self, params: SamplingParams):
        from transformers import (
            LogitsProcessorList,
            MinPLogitsWarper,
            RepetitionPenaltyLogitsProcessor,
            SequenceBiasLogitsProcessor,
            TemperatureLogitsWarper,
            TopKLogitsWarper,
            TopPLogitsWarper,
        )

        self.steps: Any = LogitsProcessorList()
        if params.logit_bias:
            self.steps.append(SequenceBiasLogitsProcessor([[[i], b] for i, b in params.logit_bias.items()]))
        if params.repetition_penalty != 1:
            self.steps.append(RepetitionPenaltyLogitsProcessor(float(params.repetition_penalty)))
        if params.temperature != 1:
            self.steps.append(TemperatureLogitsWarper(float(params.temperature)))
        if params.top_k:
            self.steps.append(TopKLogitsWarper(params.top_k))
        if params.top_p < 1:
            self.steps.append(TopPLogitsWarper(float(params.top_p)))
        if params.min_p:
            self.steps.append(MinPLogitsWarper(float(params.min_p)))

    def probabilities(self, logits: Tensor, tokens: Sequence[int] = ()) -> Tensor:
        """logits [vocab], the text so far -> [vocab]."""
        ids = torch.tensor([list(tokens)], dtype=torch.int64, device=logits.device)
        scores: Tensor = self.steps(ids, logits.float()[None].clone())
        return scores.softmax(-1)[0]

    def draw(self, logits: Tensor, tokens: Sequence[int] = ()) -> Tensor:
        return self.probabilities(logits, tokens).multinomial(1)[0]
