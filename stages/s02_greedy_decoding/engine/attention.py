"""The reference `attend`: what each token of one sequence takes from itself and the tokens before it.

The simplest version: the whole sequence comes in, and nothing is kept. Shapes: N tokens, Hq query heads, Hkv
key/value heads, D head size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from common.models import LayerInfo


class CausalAttention:
    """Each token of one sequence sees itself and the tokens before it."""

    def __call__(self, layer: LayerInfo, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q [N, Hq, D], k and v [N, Hkv, D] -> [N, Hq, D]."""
        mask = causal_mask(len(q), layer.window, q.device)
        return softmax_attention(layer, q, k.transpose(0, 1), v.transpose(0, 1), mask)


def softmax_attention(layer: LayerInfo, q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Scaled dot-product attention (Vaswani et al., 2017, section 3.2.1) with grouped heads (Ainslie et al., 2023).

    Args:
        q: [N, Hq, D].
        k, v: [Hkv, N, D]. Query heads 0 to G-1 share key/value head 0, the next G head 1, and so on.
        mask: [N, N], True where a query (row) may look at a key (column).

    Returns:
        [N, Hq, D].
    """
    n, heads, d = q.shape
    q = q.unflatten(1, (layer.num_kv_heads, -1)).permute(1, 2, 0, 3)  # [Hkv, G, N, D]
    scores = (q * layer.scale).reshape(layer.num_kv_heads, -1, d) @ k.transpose(1, 2)  # [Hkv, G * N, N]
    scores = scores.unflatten(1, (-1, n)).masked_fill(~mask, -torch.inf)
    # Summed in float32: 16 bits are too few for a sum over a whole text.
    weights = scores.softmax(dim=-1, dtype=torch.float32).to(v.dtype)
    out = weights.flatten(1, 2) @ v  # [Hkv, G * N, D]
    return out.view(heads, n, d).transpose(0, 1)


def causal_mask(n: int, window: int | None, device: torch.device) -> Tensor:
    """[n, n], True where query i may look at key j: never a later one, none beyond the sliding window."""
    position = torch.arange(n, device=device)
    distance = position[:, None] - position
    return (distance >= 0) if window is None else (distance >= 0) & (distance < window)
