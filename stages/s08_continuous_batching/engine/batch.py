"""What one forward pass works on: shares of several requests, and the tensors made of them.

The tokens of all shares lie in one flat list, requests that decode first. For one request:

    0          start               start + count          num_tokens
    |-- in the cache --|-- this step's share --|-- later steps --|
    |------------- context_len --------------->|
                       |<---- query_len ------>|
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .request import Request
from .sampler import Sampling


@dataclass(slots=True)
class Scheduled:
    """One request's share of a step: a snapshot, true even after the request has moved on. `count` is never zero."""

    request: Request
    start: int  # position of the first token
    count: int
    num_tokens: int  # the request's tokens when it was scheduled

    @property
    def tokens(self) -> list[int]:
        return self.request.tokens[self.start : self.start + self.count]

    @property
    def samples(self) -> bool:
        """Whether the share reaches the end of the text, where the next token is drawn."""
        return self.start + self.count == self.num_tokens


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that a forward pass needs: N tokens of B requests, R of which draw a token."""

    tokens: Tensor  # [N]
    positions: Tensor  # [N], of each token in its own text
    slot_mapping: Tensor  # [N], where the cache keeps each token
    cu_seqlens_q: Tensor  # [B + 1], request i has the tokens from cu_seqlens_q[i] to cu_seqlens_q[i + 1]
    context_lens: Tensor  # [B], tokens of each request once this step is done
    rows: Tensor  # [B], each request's row of the cache
    logits_indices: Tensor  # [R]
    # On the host, where shapes and loops are decided.
    starts: list[int]  # [B]
    query_lens: list[int]  # [B]
    row_ids: list[int]  # [B]


@dataclass(slots=True)
class Batch:
    scheduled: Sequence[Scheduled]
    sampling: Sampling = field(default_factory=lambda: Sampling([]))  # filled by the runner

    def inputs(self, slot: Callable[[Request, int], int], device: torch.device) -> Inputs:
        """`slot(request, position)` says where the cache keeps a token."""
        tokens: list[int] = []
        positions: list[int] = []
        slots: list[int] = []
        ends, last = [0], []
        for s in self.scheduled:
            share = range(s.start, s.start + s.count)
            tokens += s.tokens
            positions += share
            slots += [slot(s.request, p) for p in share]
            ends.append(len(tokens))
            if s.samples:
                last.append(len(tokens) - 1)
        rows = [s.request.row for s in self.scheduled]

        def tensor(values: list[int]) -> Tensor:
            return torch.tensor(values, dtype=torch.int64, device=device)

        return Inputs(
            tokens=tensor(tokens),
            positions=tensor(positions),
            slot_mapping=tensor(slots),
            cu_seqlens_q=tensor(ends),
            context_lens=tensor([s.start + s.count for s in self.scheduled]),
            rows=tensor(rows),
            logits_indices=tensor(last),
            starts=[s.start for s in self.scheduled],
            query_lens=[s.count for s in self.scheduled],
            row_ids=rows,
        )
