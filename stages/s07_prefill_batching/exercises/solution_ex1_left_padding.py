"""Solution of exercise 1."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def left_pad(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor, Tensor]:
    width = max(map(len, rows))
    empty = torch.tensor([width - len(row) for row in rows])[:, None]  # columns of padding, [B, 1]
    tokens = torch.tensor([[0] * (width - len(row)) + list(row) for row in rows])
    column = torch.arange(width)
    positions = (column - empty).clamp(min=0)
    real = column >= empty
    causal = column[:, None] >= column
    mask = causal & real[:, :, None] & real[:, None, :]
    return tokens, positions, mask | torch.eye(width, dtype=torch.bool)
