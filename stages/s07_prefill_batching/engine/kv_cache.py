"""What attention keeps of a batch: the keys and values of every row's tokens, in every layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from common.models import LayerInfo


class KVCache:
    """Room for `rows` texts of `capacity` tokens each. Token i of row b is at [b, :, i], whatever the row held before.

    Memory is allocated once: growing by concatenation would copy everything at every step.
    """

    def __init__(
        self, layers: Sequence[LayerInfo], rows: int, capacity: int, device: torch.device, dtype: torch.dtype
    ):
        shapes = [(rows, layer.num_kv_heads, capacity, layer.head_dim) for layer in layers]
        # Zeros: an unused slot may be read, with a weight of zero, and zero times NaN is NaN.
        self.k = [torch.zeros(shape, device=device, dtype=dtype) for shape in shapes]
        self.v = [torch.zeros(shape, device=device, dtype=dtype) for shape in shapes]

    def write(self, layer: int, rows: slice, positions: Tensor, k: Tensor, v: Tensor) -> None:
        """k, v [B, T, Hkv, D] to positions [B, T] of B rows."""
        each = torch.arange(len(k), device=k.device)[:, None]
        self.k[layer][rows][each, :, positions] = k.to(self.k[layer].dtype)
        self.v[layer][rows][each, :, positions] = v.to(self.v[layer].dtype)

    def read(self, layer: int, rows: slice, length: int) -> tuple[Tensor, Tensor]:
        """The first `length` tokens of B rows: keys and values, [B, Hkv, length, D] each."""
        return self.k[layer][rows, :, :length], self.v[layer][rows, :, :length]

    @property
    def nbytes(self) -> int:
        """2 * L * rows * Hkv * D * capacity * bytes per number, if all layers have the same shape."""
        return sum(t.nbytes for t in (*self.k, *self.v))
