"""The reference `attend` of a flat batch: every token sees its own request's past and nothing else.

Shapes: N tokens in all, T new tokens of one request, S tokens in the longest context, Hq query heads, Hkv key/value
heads, D head size.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from common.models import LayerInfo

from .batch import Inputs
from .kv_cache import KVCache


@dataclass(slots=True)
class Group:
    """B requests with T tokens each in this step, which one call can serve."""

    tokens: slice  # of the flat list, B * T of them
    positions: Tensor  # [B, T]
    cache_rows: Tensor  # [B]
    length: int  # S
    masks: dict[int | None, Tensor] = field(default_factory=dict)

    def mask(self, window: int | None) -> Tensor:
        """[B, T, S], made once per step and window."""
        if window not in self.masks:
            self.masks[window] = causal_mask(self.positions, self.length, window)
        return self.masks[window]


class RaggedAttention:
    """One call for all requests that decode, one for each chunk of a prompt."""

    def __init__(self, cache: KVCache):
        self.cache = cache

    def plan(self, inputs: Inputs) -> None:
        """Once per step, before the layers run."""
        self.places = self.cache.places(inputs.slot_mapping)
        lens = inputs.query_lens
        # Requests that decode come first, one token each.
        decodes = next((i for i, n in enumerate(lens) if n > 1), len(lens))
        self.groups = [self.group(inputs, 0, 0, decodes)] if decodes else []
        at = decodes
        for i in range(decodes, len(lens)):
            self.groups.append(self.group(inputs, at, i, 1))
            at += lens[i]

    def group(self, inputs: Inputs, at: int, first: int, count: int) -> Group:
        """`count` requests from number `first` on, whose tokens begin at `at` in the flat list."""
        tokens = slice(at, at + count * inputs.query_lens[first])
        requests = slice(first, first + count)
        positions = inputs.positions[tokens].view(count, -1)
        return Group(tokens, positions, inputs.cache_rows[requests], max(inputs.context_lens[requests]))

    def __call__(self, layer: LayerInfo, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q [N, Hq, D], k and v [N, Hkv, D] of the new tokens -> [N, Hq, D]."""
        self.cache.write(layer.index, self.places, k, v)
        out = torch.empty_like(q)
        for group in self.groups:
            keys, values = self.cache.read(layer.index, group.cache_rows, group.length)
            part = q[group.tokens].unflatten(0, group.positions.shape)
            found = softmax_attention(layer, part, keys, values, group.mask(layer.window))
            out[group.tokens] = found.flatten(0, 1)
        return out


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
