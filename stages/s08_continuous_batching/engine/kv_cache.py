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
        self.capacity = capacity
        shapes = [(rows, layer.num_kv_heads, capacity, layer.head_dim) for layer in layers]
        # Zeros, for an idle row is read along with the others, and a NaN would survive a weight of zero.
        self.k = [
            torch.zeros(shape, device=device, dtype=dtype) for shape in shapes
        ]  # [rows, Hkv, capacity, D]
        self.v = [torch.zeros(shape, device=device, dtype=dtype) for shape in shapes]

    def places(self, slot_mapping: Tensor) -> tuple[Tensor, Tensor]:
        """slots [N] -> the row of each, and the token in it."""
        return slot_mapping // self.capacity, slot_mapping % self.capacity

    def write(self, layer: int, places: tuple[Tensor, Tensor], k: Tensor, v: Tensor) -> None:
        """k, v [N, Hkv, D] to N places."""
        rows, positions = places
        kept = self.k[layer].dtype
        self.k[layer][rows, :, positions] = k.to(kept)
        self.v[layer][rows, :, positions] = v.to(kept)

    @property
    def nbytes(self) -> int:
        """2 * L * rows * Hkv * D * capacity * bytes per number, where all layers are alike."""
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
