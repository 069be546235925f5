"""What attention keeps of a sequence: the keys and values of its tokens, for every layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from common.errors import UserError
from common.models import LayerInfo


class KVCache:
    """Room for `capacity` tokens of one sequence. Token i of a layer lies at index i of its `k` and `v`.

    Memory is taken once: growing by concatenation would copy the whole past at every step.
    """

    def __init__(self, layers: Sequence[LayerInfo], capacity: int, device: torch.device, dtype: torch.dtype):
        self.capacity = capacity
        self.length = 0  # tokens present in every layer, or being written by the step under way
        shapes = [(layer.num_kv_heads, capacity, layer.head_dim) for layer in layers]
        self.k = [torch.empty(shape, device=device, dtype=dtype) for shape in shapes]  # [Hkv, capacity, D]
        self.v = [torch.empty(shape, device=device, dtype=dtype) for shape in shapes]

    def extend(self, count: int) -> int:
        """Makes the next `count` places part of the sequence -> the first of them.

        Raises:
            UserError: there are not so many left; nothing has changed.
        """
        if self.length + count > self.capacity:
            raise UserError(
                f"the KV cache holds {self.length} of {self.capacity} tokens: no room for {count} more"
            )
        start, self.length = self.length, self.length + count
        return start

    def write(self, layer: int, start: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """k, v [N, Hkv, D] to the places from `start` on -> the keys and values of all tokens so far, [Hkv, T, D]."""
        end = start + len(k)
        self.k[layer][:, start:end] = k.transpose(0, 1)
        self.v[layer][:, start:end] = v.transpose(0, 1)
        return self.k[layer][:, :end], self.v[layer][:, :end]

    def truncate_to(self, length: int) -> None:
        """Forgets all tokens from position `length` on. What follows overwrites them."""
        if not 0 <= length <= self.length:
            raise UserError(f"cannot cut to {length} tokens: the KV cache holds {self.length}")
        self.length = length

    @property
    def nbytes(self) -> int:
        """2 * L * Hkv * D * capacity * bytes per number, where all layers are alike."""
        return sum(t.nbytes for t in (*self.k, *self.v))
