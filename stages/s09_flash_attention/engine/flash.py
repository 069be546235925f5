"""Attention without the matrix of scores: keys come in tiles, and a running softmax corrects what came before.

This is the algorithm inside every flash attention kernel, written to be read: the online softmax (Milakov & Gimelshein,
2018) over tiles of keys (Rabe & Staats, 2021; Dao et al., 2022). A kernel keeps each tile in on-chip memory. Here a tile
is a tensor like any other, so this saves memory and little time.
"""

from __future__ import annotations

import torch
from torch import Tensor

from common.models import LayerInfo

# Keys at a time.
TILE = 64


def tiled_attention(layer: LayerInfo, q: Tensor, k: Tensor, v: Tensor, positions: Tensor) -> Tensor:
    """What `softmax_attention` returns, with T x TILE scores at a time instead of T x S.

    Args:
        q: [B, T, Hq, D].
        k, v: [B, Hkv, S, D].
        positions: [B, T] of the queries; the key at index i has position i.

    Returns:
        [B, T, Hq, D].
    """
    dtype = q.dtype
    # [B, Hkv, G, T, D]: the G query heads that share a key head.
    q = (q * layer.scale).unflatten(2, (layer.num_kv_heads, -1)).permute(0, 2, 3, 1, 4).to(k.dtype)
    out = torch.zeros(q.shape, dtype=torch.float32, device=q.device)
    # Not -inf: a query whose first tiles are all masked would subtract infinity from infinity.
    highest = torch.full_like(out[..., :1], torch.finfo(torch.float32).min)
    total = torch.zeros_like(highest)
    for start in range(first_tile(positions, layer.window), k.shape[2], TILE):
        keys, values = k[:, :, None, start : start + TILE], v[:, :, None, start : start + TILE]
        scores = (q @ keys.transpose(-1, -2)).float()
        distance = positions[..., None] - torch.arange(start, start + keys.shape[3], device=q.device)
        hidden = distance < 0 if layer.window is None else (distance < 0) | (distance >= layer.window)
        scores = scores.masked_fill(hidden[:, None, None], -torch.inf)
        new = torch.maximum(highest, scores.amax(dim=-1, keepdim=True))
        # All sums so far were taken relative to the old maximum: bring them to the new one.
        correction, weights = (highest - new).exp(), (scores - new).exp()
        total = total * correction + weights.sum(dim=-1, keepdim=True)
        out = out * correction + (weights.to(values.dtype) @ values).float()
        highest = new
    return (out / total).to(dtype).flatten(1, 2).transpose(1, 2)


def first_tile(positions: Tensor, window: int | None) -> int:
    """The first key of the first tile that any query may look at."""
    if window is None:
        return 0
    return max(0, int(positions.min()) - window + 1) // TILE * TILE
