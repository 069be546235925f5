"""What bounds decoding on this machine and this model: bytes that memory gives a second, operations that arithmetic does.

The formulas for bytes are `common.bench.bandwidth`'s. The model stays on the meta device: only its shapes are asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from common.bench.bandwidth import decode_bound, kv_bytes_per_token, total_bytes, weight_bytes
from common.bench.timing import Timer
from common.loader import load_config
from common.models import new_model

__all__ = ["Shapes", "matmul_rate"]


def matmul_rate(device: str, dtype: str) -> float:
    """Operations a second of a large matrix product: what arithmetic gives here at best.

    A processor may be faster in float32 than in the 16 bits that were asked for; who widens the numbers has that rate.
    """
    size, seconds = 8192 if device.startswith("cuda") else 1024, []
    for kind in {dtype, "float32"} if device == "cpu" else {dtype}:
        a, b = (torch.randn(size, size, device=device).to(getattr(torch, kind)) for _ in range(2))
        for _ in range(8):
            with Timer(device) as timer:
                torch.mm(a, b)
            seconds.append(timer.seconds)
    return 2 * size**3 / min(seconds)


@dataclass(slots=True)
class Shapes:
    """A model without its numbers."""

    model: Any
    itemsize: int

    @classmethod
    def of(cls, folder: Path, dtype: str) -> Shapes:
        kind: torch.dtype = getattr(torch, dtype)
        with torch.device("meta"):
            model: Any = new_model(load_config(folder))
        return cls(model.to(kind), kind.itemsize)

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
        bound: float = decode_bound(self.model, context, bandwidth, batch, self.itemsize)
        return bound

    def arithmetic_bound(self, context: int, rate: float) -> float:
        """Tokens/s that arithmetic allows, whatever the batch. rate: operations/s."""
        weights = weight_bytes(self.model) / self.itemsize
        attention = sum(
            4 * layer.num_heads * layer.head_dim * min(context, layer.window or context)
            for layer in self.model.layers_info
        )
        return rate / (2 * weights + attention)
