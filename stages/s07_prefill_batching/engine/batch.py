"""What one forward pass works on: several requests side by side, padded to a rectangle.

A row is computed even where it holds padding: to the right of a short prompt, and, once its request has finished, until
the last request of the batch has. `num_padding` counts these tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .request import Request
from .sampler import Draw, Sampling


@dataclass(frozen=True, slots=True)
class Scheduled:
    """The tokens of one request that a step runs: a snapshot that stays valid when the request moves on."""

    request: Request
    start: int  # position of the first token
    num_scheduled_tokens: int  # never 0
    num_tokens: int  # of the request, when it was scheduled

    @property
    def tokens(self) -> list[int]:
        return self.request.tokens[self.start : self.start + self.num_scheduled_tokens]


@dataclass(frozen=True, slots=True)
class Inputs:
    """One step of B rows, T tokens each."""

    tokens: Tensor  # [B, T]
    positions: Tensor  # [B, T], of each token in its own text
    logits_indices: Tensor  # [B], each row's last token that is not padding, in the flat list of B * T tokens
    cache_rows: slice  # of the K/V cache, B of them
    max_context_len: int  # tokens of the longest row, this step's included
    num_padding: int


@dataclass(slots=True)
class Batch:
    """Consecutive rows of the cache."""

    scheduled: Sequence[Scheduled]
    # Filled in by the runner.
    sampling: Sampling = field(default_factory=Sampling)

    @property
    def draws(self) -> list[Draw]:
        """Each row draws the token after its last one."""
        return [Draw(s.request, s.num_tokens) for s in self.scheduled]

    def inputs(self, device: torch.device) -> Inputs:
        """Rows are filled up on the right: padding comes after all real tokens, where none of them looks."""
        width = max(s.num_scheduled_tokens for s in self.scheduled)
        tokens = [s.tokens + [0] * (width - s.num_scheduled_tokens) for s in self.scheduled]
        positions = [list(range(s.start, s.start + width)) for s in self.scheduled]
        last = [row * width + s.num_scheduled_tokens - 1 for row, s in enumerate(self.scheduled)]
        wanted = sum(s.num_scheduled_tokens for s in self.scheduled if not s.request.done)
        first = self.scheduled[0].request.cache_row
        return Inputs(
            tokens=torch.tensor(tokens, device=device),
            positions=torch.tensor(positions, device=device),
            logits_indices=torch.tensor(last, device=device),
            cache_rows=slice(first, first + len(tokens)),
            max_context_len=max(s.start for s in self.scheduled) + width,
            num_padding=len(tokens) * width - wanted,
        )
