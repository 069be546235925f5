"""The reference `attend` of a padded batch: each row sees its own past and no other row.

Shapes: B rows, T new tokens each (N = B * T), S tokens in the longest text, Hq query heads, Hkv key/value heads, D head size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from common.models import LayerInfo

from .batch import Inputs
from .kv_cache import KVCache


class PaddedAttention:
    """All rows of a batch in one call, told apart by a mask."""

    def __init__(self, cache: KVCache):
        self.cache = cache

    def plan(self, inputs: Inputs) -> None:
        """Once per step, before the layers run."""
        self.inputs = inputs
        self.masks: dict[int | None, Tensor] = {}

    def __call__(self, layer: LayerInfo, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q [N, Hq, D], k and v [N, Hkv, D] of the new tokens -> [N, Hq, D]."""
        inputs = self.inputs
        q, k, v = (x.unflatten(0, inputs.positions.shape) for x in (q, k, v))
        self.cache.write(layer.index, inputs.cache_rows, inputs.positions, k, v)
        keys, values = self.cache.read(layer.index, inputs.cache_rows, inputs.max_context_len)
        if layer.window not in self.masks:
            self.masks[layer.window] = causal_mask(inputs.positions, inputs.max_context_len, layer.window)
        return softmax_attention(layer, q, keys, values, self.masks[layer.window]).flatten(0, 1)


def softmax_attention(layer: LayerInfo, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Scaled dot-product attention (Vaswani et al., 2017, section 3.2.1) with grouped heads (Ainslie et al., 2023).

    Args:
        q: [B, T, Hq, D].
        k, v: [B, Hkv, S, D]. Query heads 0 to G-1 share key/value head 0, the next G head 1, and so on.
        mask: [B, T, S], True where a query may look at a key.

    Returns:
        [B, T, Hq, D].
    """
    t, dtype = q.shape[1], q.dtype
    # The G query heads that share a key head become more rows of one product, so no key is copied.
    q = (q * layer.scale).unflatten(2, (layer.num_kv_heads, -1)).permute(0, 2, 3, 1, 4).flatten(2, 3)
    scores = q.to(k.dtype) @ k.transpose(2, 3)  # [B, Hkv, G * T, S]
    scores = scores.unflatten(2, (-1, t)).masked_fill(~mask[:, None, None], -torch.inf)
    # Summed in float32: 16 bits are too few for a sum over a whole text.
    weights = scores.softmax(dim=-1, dtype=torch.float32).to(v.dtype)
    out = (weights.flatten(2, 3) @ v).to(dtype)  # [B, Hkv, G * T, D]
    return out.unflatten(2, (-1, t)).permute(0, 3, 1, 2, 4).flatten(2, 3)


def causal_mask(positions: Tensor, length: int, window: int | None) -> Tensor:
    """positions [B, T] -> [B, T, length], True where a query may look: at itself and at what comes before it."""
    distance = positions[..., None] - torch.arange(length, device=positions.device)
    return (distance >= 0) if window is None else (distance >= 0) & (distance < window)
