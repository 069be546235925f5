"""What attention keeps: the keys and values of all running requests, and who has which part of the room."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import torch
from torch import Tensor

from common.models import LayerInfo

from .request import Request


class KVCache:
    """Room for `rows` texts of `capacity` tokens each. Slot s is token s % capacity of row s // capacity."""

    def __init__(
        self, layers: Sequence[LayerInfo], rows: int, capacity: int, device: torch.device, dtype: torch.dtype
    ):
        shapes = [(rows, capacity, layer.num_kv_heads, layer.head_dim) for layer in layers]
        # Zeros, for an idle row is read along with the others, and a NaN would survive a weight of zero.
        self.k = [
            torch.zeros(shape, device=device, dtype=dtype) for shape in shapes
        ]  # [rows, capacity, Hkv, D]
        self.v = [torch.zeros(shape, device=device, dtype=dtype) for shape in shapes]

    def write(self, layer: int, slot_mapping: Tensor, k: Tensor, v: Tensor) -> None:
        """k, v [N, Hkv, D] to slots [N]."""
        self.k[layer].flatten(0, 1).index_copy_(0, slot_mapping, k)
        self.v[layer].flatten(0, 1).index_copy_(0, slot_mapping, v)

    @property
    def nbytes(self) -> int:
        """2 * L * rows * capacity * Hkv * D * bytes per number, where all layers are alike."""
        return sum(t.nbytes for t in (*self.k, *self.v))


class RowAllocator:
    """Gives a request a row of the cache for as long as it runs, always the lowest: busy rows stay together."""

    def __init__(self, rows: int, capacity: int):
        self.capacity = capacity
        self.free = list(range(rows))  # a heap

    def allocate(self, request: Request, num_tokens: int) -> bool:
        """Room for `num_tokens` tokens in all -> False, and nothing changed, where there is none."""
        if request.row < 0:
            if not self.free or num_tokens > self.capacity:
                return False
            request.row = heapq.heappop(self.free)
        return num_tokens <= self.capacity

    def release(self, request: Request) -> None:
        if request.row >= 0:
            heapq.heappush(self.free, request.row)
            request.row = -1

    def slot(self, request: Request, position: int) -> int:
        """Where the K/V of a request's token is."""
        return request.row * self.capacity + position
