"""The reference `attend` of a padded batch: each row sees its own past and no other row.

The keys and values of earlier tokens come from the cache. Shapes: B rows, T new tokens each, S tokens in the longest
text, Hq query heads, Hkv key/value heads, D head size.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from common.models import LayerInfo

from .batch import Inputs
from .kv_cache import KVCache


class PaddedAttention:
    """All rows of a batch in one call, told apart by a mask."""

    def __init__(self, cache: KVCache):
        self.cache = cache
        self.inputs: Inputs
        self.masks: dict[int | None, Tensor]  # of each window that occurs

    def plan(self, inputs: Inputs) -> None:
        """Once per step, before the layers run."""
        self.inputs = inputs
        self.masks = {}

    def __call__(self, layer: LayerInfo, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q [B * T, Hq, D], k and v [B * T, Hkv, D] -> [B * T, Hq, D]."""
        shape = self.inputs.positions.shape  # B, T
        q, k, v = (x.unflatten(0, shape) for x in (q, k, v))
        k, v = self.cache.write(layer.index, self.inputs.positions, k, v, self.inputs.max_context_len)
        mask = self.mask(layer.window)[:, None]
        grouped = layer.num_heads != layer.num_kv_heads
        out = F.scaled_dot_product_attention(
            q.transpose(1, 2), k, v, mask, scale=layer.scale, enable_gqa=grouped
        )
        return out.transpose(1, 2).flatten(0, 1)

    def mask(self, window: int | None) -> Tensor:
        """[B, T, S], True where a token may look: not past its own position, where a row has padding or leftovers."""
        if window not in self.masks:
            position = self.inputs.positions[:, :, None]
            distance = position - torch.arange(self.inputs.max_context_len, device=position.device)
            near = distance >= 0
            self.masks[window] = near if window is None else near & (distance < window)
        return self.masks[window]
