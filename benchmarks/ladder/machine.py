"""What bounds decoding of this model: its bytes and its operations, from its shapes alone.

The formulas for bytes are `common.bench.bandwidth`'s. The model stays on the meta device: only its shapes are asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from common.bench.bandwidth import decode_bound, kv_bytes_per_token, total_bytes, weight_bytes
from common.loader import load_config, on_meta

__all__ = ["Shapes"]


@dataclass(slots=True)
class Shapes:
    """A model without its numbers."""

    model: Any
    itemsize: int

    @classmethod
    def of(cls, folder: Path, dtype: str) -> Shapes:
        kind: torch.dtype = getattr(torch, dtype)
        return cls(on_meta(load_config(folder)).to(kind), kind.itemsize)

    @property
    def total_bytes(self) -> int:
        return total_bytes(self.model)

    @property
    def parameters(self) -> int:
        return self.total_bytes // self.itemsize

    def row_bytes(self, length: int) -> int:
        """K and V of one request in a contiguous row: a window limits what is read, not what is kept."""
        return length * kv_bytes_per_token(self.model.layers_info, self.itemsize)

    def memory_bound(self, context: int, bandwidth: float, batch: int = 1) -> float:
        """Tokens/s that reading allows. bandwidth: bytes/s."""
        return decode_bound(self.model, context, bandwidth, batch, self.itemsize)

    def arithmetic_bound(self, context: int, rate: float) -> float:
        """Tokens/s that arithmetic allows, whatever the batch. rate: operations/s."""
        weights = weight_bytes(self.model) / self.itemsize
        attention = sum(
            4 * layer.num_heads * layer.head_dim * min(context, layer.window or context)
            for layer in self.model.layers_info
        )
        return rate / (2 * weights + attention)
