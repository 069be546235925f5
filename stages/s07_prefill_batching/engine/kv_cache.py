"""What attention keeps of a batch: the keys and values of every row's tokens, for every layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from common.models import LayerInfo


class KVCache:
    """Room for `rows` texts of `capacity` tokens each. Token i of row b lies at [b, :, i], whatever the row held before."""

    def __init__(
        self, layers: Sequence[LayerInfo], rows: int, capacity: int, device: torch.device, dtype: torch.dtype
    ):
        shapes = [(rows, layer.num_kv_heads, capacity, layer.head_dim) for layer in layers]
        # Zeros, for a padded row is read before it is written, and not even a weight of zero saves a sum from a NaN.
        self.k = [
            torch.zeros(shape, device=device, dtype=dtype) for shape in shapes
        ]  # [rows, Hkv, capacity, D]
        self.v = [torch.zeros(shape, device=device, dtype=dtype) for shape in shapes]

    def write(
        self, layer: int, positions: Tensor, k: Tensor, v: Tensor, length: int
    ) -> tuple[Tensor, Tensor]:
        """k, v [B, T, Hkv, D] to positions [B, T] of the first B rows -> their first `length` tokens, [B, Hkv, length, D]."""
        rows = torch.arange(len(k), device=k.device)[:, None]
        self.k[layer][rows, :, positions] = k
        self.v[layer][rows, :, positions] = v
        return self.k[layer][: len(k), :, :length], self.v[layer][: len(v), :, :length]

    @property
    def nbytes(self) -> int:
        """2 * L * rows * Hkv * D * capacity * bytes per number, where all layers are alike."""
        return sum(t.nbytes for t in (*self.k, *self.v))
