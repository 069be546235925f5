"""What attention keeps: the keys and values of all running requests, and which request owns which row."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import torch
from torch import Tensor

from common.models import LayerInfo

from .request import Request


class KVCache:
    """Room for `rows` texts of `capacity` tokens each. Slot s is token s % capacity of row s // capacity.

    Memory is allocated once: growing by concatenation would copy everything at every step.
    """

    def __init__(
        self, layers: Sequence[LayerInfo], rows: int, capacity: int, device: torch.device, dtype: torch.dtype
    ):
        self.capacity = capacity
        shapes = [(rows, layer.num_kv_heads, capacity, layer.head_dim) for layer in layers]
        # Zeros: an unused slot may be read, with a weight of zero, and zero times NaN is NaN.
        self.k = [torch.zeros(shape, device=device, dtype=dtype) for shape in shapes]
        self.v = [torch.zeros(shape, device=device, dtype=dtype) for shape in shapes]

    def slot(self, request: Request, position: int) -> int:
        """The slot of a request's token. Raises RuntimeError for a request without a row."""
        if request.cache_row < 0:
            raise RuntimeError(f"request {request.id} has no row in the cache")
        return request.cache_row * self.capacity + position

    def places(self, slots: Tensor) -> tuple[Tensor, Tensor]:
        """Slots [N] as rows [N] and positions in them [N]; once per step, for `write` in every layer."""
        return slots // self.capacity, slots % self.capacity

    def write(self, layer: int, places: tuple[Tensor, Tensor], k: Tensor, v: Tensor) -> None:
        """k, v [N, Hkv, D] to N places."""
        rows, positions = places
        self.k[layer][rows, :, positions] = k.to(self.k[layer].dtype)
        self.v[layer][rows, :, positions] = v.to(self.v[layer].dtype)

    def read(self, layer: int, rows: Tensor | slice, length: int) -> tuple[Tensor, Tensor]:
        """Keys and values of the first `length` tokens of B rows, [B, Hkv, length, D] each.

        A view if `rows` is a slice, otherwise a copy.
        """
        return self.k[layer][rows, :, :length], self.v[layer][rows, :, :length]

    @property
    def nbytes(self) -> int:
        """2 * L * rows * Hkv * D * capacity * bytes per number, if all layers have the same shape."""
        return sum(t.nbytes for t in (*self.k, *self.v))


class RowAllocator:
    """Lends a row of the cache to each running request, always the lowest that is free."""

    def __init__(self, rows: int, capacity: int):
        self.capacity = capacity
        self.free = list(range(rows))  # a heap

    def allocate(self, request: Request, num_tokens: int) -> bool:
        """Reserves room for `num_tokens` in total. Returns False, changing nothing, if there is none."""
        if num_tokens > self.capacity:
            return False
        if request.cache_row < 0:
            if not self.free:
                return False
            request.cache_row = heapq.heappop(self.free)
        return True

    def release(self, request: Request) -> None:
        if request.cache_row >= 0:
            heapq.heappush(self.free, request.cache_row)
            request.cache_row = -1
