"""Solution of exercise 2."""

from __future__ import annotations

import torch
from torch import Tensor


class WindowCache:
    def __init__(self, kv_heads: int, window: int, head_dim: int):
        self.window = window
        self.length = 0
        self.k = torch.zeros(kv_heads, window, head_dim)
        self.v = torch.zeros(kv_heads, window, head_dim)

    def write(self, k: Tensor, v: Tensor) -> None:
        start, self.length = self.length, self.length + len(k)
        first = max(start, self.length - self.window)  # older ones would be overwritten at once
        slots = torch.arange(first, self.length) % self.window  # at most `window`, so all different
        self.k[:, slots] = k[first - start :].transpose(0, 1)
        self.v[:, slots] = v[first - start :].transpose(0, 1)

    def positions(self) -> list[int]:
        recent = range(max(0, self.length - self.window), self.length)
        return sorted(recent, key=lambda position: position % self.window)

    def visible(self) -> tuple[Tensor, Tensor]:
        # Attention is a weighted sum over the past, and a sum has no order. Positions are in the keys (RoPE), not in the slots.
        used = min(self.length, self.window)
        return self.k[:, :used], self.v[:, :used]
