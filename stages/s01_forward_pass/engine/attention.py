"""The reference `attend`: what every token of one sequence takes from those before it.

Plain and complete: the whole sequence is given, nothing is kept. Shapes: N tokens, Hq query heads, Hkv key/value
heads, D head size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from common.models import LayerInfo


class CausalAttention:
    """Softmax attention (Vaswani et al., 2017, section 3.2.1) of one sequence, each token seeing itself and the past."""

    def __call__(self, layer: LayerInfo, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q [N, Hq, D], k and v [N, Hkv, D] -> [N, Hq, D]."""
        group = layer.num_heads // layer.num_kv_heads  # query heads that share a key/value head
        k = k.repeat_interleave(group, dim=1)
        v = v.repeat_interleave(group, dim=1)

        scores = torch.einsum("qhd,khd->hqk", q, k) * layer.scale
        scores = scores.masked_fill(~causal_mask(len(q), layer.window, q.device), -torch.inf)
        weights = scores.softmax(dim=-1, dtype=torch.float32).to(v.dtype)
        return torch.einsum("hqk,khd->qhd", weights, v)


def causal_mask(n: int, window: int | None, device: torch.device) -> Tensor:
    """[n, n], True where query i may look at key j: not into the future, and not further back than the window."""
    position = torch.arange(n, device=device)
    distance = position[:, None] - position
    return (distance >= 0) if window is None else (distance >= 0) & (distance < window)
