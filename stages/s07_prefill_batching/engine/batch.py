"""What one forward pass works on: several requests side by side, padded to the longest.

Row i of a batch is the same request until the batch ends. A row whose prompt is shorter than the longest, or whose
request is done before the last one, is computed all the same, and its outcome thrown away: that is the price of a
rectangle, and `num_padding` counts it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .request import Request


@dataclass(frozen=True, slots=True)
class Inputs:
    """One step of a batch of B rows, T tokens each."""

    tokens: Tensor  # [B, T]
    positions: Tensor  # [B, T], of each token in its own text
    logits_indices: Tensor  # [B], where in the flat list of B * T tokens each row's last real one is
    max_context_len: int  # tokens of the longest row, this step's included
    num_padding: int  # tokens of this step that nobody asked for


@dataclass(slots=True)
class PaddedBatch:
    """Requests that begin and end together. `prefilled`: their prompts are in the cache."""

    requests: Sequence[Request]
    prefilled: bool = False

    @property
    def done(self) -> bool:
        return all(r.done for r in self.requests)

    def inputs(self, device: torch.device) -> Inputs:
        """The first step takes the prompts, padded at the end; later ones a token a row."""
        if not self.prefilled:
            rows = [r.tokens for r in self.requests]
            width = max(map(len, rows))
            tokens = [row + [0] * (width - len(row)) for row in rows]
            positions = [list(range(width))] * len(rows)
            last = [i * width + len(row) - 1 for i, row in enumerate(rows)]
            real = sum(map(len, rows))
        else:
            tokens = [r.tokens[-1:] for r in self.requests]
            positions = [[r.num_tokens - 1] for r in self.requests]
            last = list(range(len(tokens)))
            real = sum(not r.done for r in self.requests)
        context = 1 + max(p[-1] for p in positions)
        padding = len(tokens) * len(tokens[0]) - real
        return Inputs(
            torch.tensor(tokens, device=device),
            torch.tensor(positions, device=device),
            torch.tensor(last, device=device),
            context,
            padding,
        )
