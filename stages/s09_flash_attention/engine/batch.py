"""What one forward pass works on: the scheduled tokens of several requests, and the tensors made from them.

The tokens form one flat list, those of decoding requests first. For one request:

    0            start               start + num_scheduled_tokens    num_tokens
    |-- in the cache --|---- num_scheduled_tokens ----|-- later steps --|
    |----------------- context_len -------------------|
                       |--------- query_len ----------|
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

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
    def end(self) -> int:
        return self.start + self.num_scheduled_tokens

    @property
    def tokens(self) -> list[int]:
        return self.request.tokens[self.start : self.end]

    @property
    def draws(self) -> bool:
        """Whether the tokens reach the end of the text, so that the next one is drawn."""
        return self.end == self.num_tokens


@dataclass(frozen=True, slots=True)
class Inputs:
    """One step: N tokens of B requests, R of which draw a token."""

    tokens: Tensor  # [N]
    positions: Tensor  # [N], of each token in its own text
    slot_mapping: Tensor  # [N], where the cache keeps each token
    cache_rows: Tensor  # [B]
    logits_indices: Tensor  # [R]
    # [B + 1], cumulative lengths: request i has queries cu_seqlens_q[i] to cu_seqlens_q[i + 1]; keys likewise.
    cu_seqlens_q: Tensor
    cu_seqlens_k: Tensor
    # On the host, where shapes and loops are decided.
    query_lens: list[int]  # [B]
    context_lens: list[int]  # [B]
    row_ids: list[int]  # [B]


@dataclass(slots=True)
class Batch:
    scheduled: Sequence[Scheduled]
    # Filled in by the runner.
    sampling: Sampling = field(default_factory=Sampling)

    @property
    def draws(self) -> list[Draw]:
        return [Draw(s.request, s.num_tokens) for s in self.scheduled if s.draws]

    def inputs(self, slot: Callable[[Request, int], int], device: torch.device) -> Inputs:
        """`slot(request, position)` says where the cache keeps a token. All integers reach the device in one copy."""
        tokens: list[int] = []
        positions: list[int] = []
        slots: list[int] = []
        logits_indices: list[int] = []
        for s in self.scheduled:
            tokens += s.tokens
            positions += range(s.start, s.end)
            slots += [slot(s.request, position) for position in range(s.start, s.end)]
            if s.draws:
                logits_indices.append(len(tokens) - 1)
        cache_rows = [s.request.cache_row for s in self.scheduled]
        query_lens = [s.num_scheduled_tokens for s in self.scheduled]
        context_lens = [s.end for s in self.scheduled]
        cu_seqlens = ([0, *accumulate(lens)] for lens in (query_lens, context_lens))
        parts = tokens, positions, slots, cache_rows, logits_indices, *cu_seqlens
        packed = torch.tensor([i for part in parts for i in part]).to(device)
        on_device = packed.split([len(part) for part in parts])
        return Inputs(
            tokens=on_device[0],
            positions=on_device[1],
            slot_mapping=on_device[2],
            cache_rows=on_device[3],
            logits_indices=on_device[4],
            cu_seqlens_q=on_device[5],
            cu_seqlens_k=on_device[6],
            query_lens=query_lens,
            context_lens=context_lens,
            row_ids=cache_rows,
        )
