"""The reference `attend`: what each token of one sequence takes from itself and the tokens before it.

Only new tokens come in; the keys and values of earlier ones are read from the cache. Shapes: N new tokens, T tokens
in all, Hq query heads, Hkv key/value heads, D head size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from common.models import LayerInfo

from .kv_cache import KVCache


class CachedAttention:
    """Each new token of one sequence sees itself and the tokens before it, whose keys and values the cache holds."""

    def __init__(self, cache: KVCache):
        self.cache = cache
        self.start = 0  # position of the first new token

    def plan(self, count: int) -> int:
        """Once per step, before the layers run: makes room for `count` tokens. Returns the position of the first."""
        self.start = self.cache.extend(count)
        return self.start

    def __call__(self, layer: LayerInfo, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q [N, Hq, D], k and v [N, Hkv, D] of the new tokens -> [N, Hq, D]."""
        k, v = self.cache.write(layer.index, self.start, k, v)
        mask = causal_mask(self.start, len(q), layer.window, q.device)
        return softmax_attention(layer, q, k, v, mask)


def softmax_attention(layer: LayerInfo, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Scaled dot-product attention (Vaswani et al., 2017, section 3.2.1) with grouped heads (Ainslie et al., 2023).

    Args:
        q: [N, Hq, D].
        k, v: [Hkv, T, D]. Query heads 0 to G-1 share key/value head 0, the next G head 1, and so on.
        mask: [N, T], True where a query (row) may look at a key (column); None: everywhere.

    Returns:
        [N, Hq, D].
    """
    n, heads, d = q.shape
    q = q.unflatten(1, (layer.num_kv_heads, -1)).permute(1, 2, 0, 3)  # [Hkv, G, N, D]
    scores = (q * layer.scale).reshape(layer.num_kv_heads, -1, d) @ k.transpose(1, 2)  # [Hkv, G * N, T]
    scores = scores.unflatten(1, (-1, n))
    if mask is not None:
        scores = scores.masked_fill(~mask, -torch.inf)
    # Summed in float32: 16 bits are too few for a sum over a whole text.
    weights = scores.softmax(dim=-1, dtype=torch.float32).to(v.dtype)
    out = weights.flatten(1, 2) @ v  # [Hkv, G * N, D]
    return out.view(heads, n, d).transpose(0, 1)


def causal_mask(start: int, n: int, window: int | None, device: torch.device) -> Tensor | None:
    """[n, start + n], True where query start + i may look at key j: none later, none beyond the window."""
    # A single new token is the last one: it may look at all of them.
    if n == 1 and (window is None or start < window):
        return None
    position = torch.arange(start + n, device=device)
    distance = position[start:, None] - position
    return (distance >= 0) if window is None else (distance >= 0) & (distance < window)
