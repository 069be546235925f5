"""What attention keeps of a sequence: the keys and values of its tokens, in every layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from common.errors import UserError
from common.models import LayerInfo


class KVCache:
    """Room for `capacity` tokens of one sequence. In each layer, slot i of `k` and `v` holds token i.

    Memory is allocated once: growing by concatenation would copy everything at every step.
    """

    def __init__(self, layers: Sequence[LayerInfo], capacity: int, device: torch.device, dtype: torch.dtype):
        self.capacity = capacity
        # Tokens present in every layer, or being written by the current step.
        self.length = 0
        shapes = [(layer.num_kv_heads, capacity, layer.head_dim) for layer in layers]
        self.k = [torch.empty(shape, device=device, dtype=dtype) for shape in shapes]  # [Hkv, capacity, D]
        self.v = [torch.empty(shape, device=device, dtype=dtype) for shape in shapes]

    def extend(self, count: int) -> int:
        """Adds the next `count` slots to the sequence. Returns the first of them.

        Raises:
            UserError: there are not enough slots left; nothing has changed.
        """
        if self.length + count > self.capacity:
            raise UserError(
                f"the KV cache holds {self.length} of {self.capacity} tokens: no room for {count} more"
            )
        start, self.length = self.length, self.length + count
        return start

    def write(self, layer: int, start: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Writes k, v [N, Hkv, D] to the slots from `start` on. Returns all keys and values so far, [Hkv, T, D]."""
        end = start + len(k)
        self.k[layer][:, start:end] = k.transpose(0, 1)
        self.v[layer][:, start:end] = v.transpose(0, 1)
        return self.k[layer][:, :end], self.v[layer][:, :end]

    def truncate_to(self, length: int) -> None:
        """Forgets all tokens from position `length` on; later writes overwrite them."""
        if not 0 <= length <= self.length:
            raise UserError(f"cannot truncate to {length} tokens: the KV cache holds {self.length}")
        self.length = length

    @property
    def nbytes(self) -> int:
        """2 * L * Hkv * D * capacity * bytes per number, if all layers have the same shape."""
        return sum(t.nbytes for t in (*self.k, *self.v))
