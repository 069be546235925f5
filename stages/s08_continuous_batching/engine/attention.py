"""The reference `attend` of a flat batch: every token sees its own request's past and nothing else.

Keys and values of earlier tokens come from the cache. Requests that decode, one token each, are one call for all;
a share of a prompt is a call of its own. Shapes: N tokens in all, B requests, S tokens in the longest context, Hq query
heads, Hkv key/value heads, D head size.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from common.models import LayerInfo

from .batch import Inputs
from .kv_cache import KVCache


class RaggedAttention:
    """Planned once per step from the batch, called once per layer."""

    def __init__(self, cache: KVCache):
        self.cache = cache

    def plan(self, inputs: Inputs) -> None:
        """What all layers share: where to write, who decodes, the masks."""
        self.places = self.cache.places(inputs.slot_mapping)
        lens = inputs.query_lens
        self.num_decodes = next((i for i, n in enumerate(lens) if n > 1), len(lens))
        self.masks: dict[
            tuple[int, int | None], Tensor
        ] = {}  # (share, or -1 for the decodes; window) -> mask
        self.plan_decodes(inputs)
        self.chunks = []  # (first token, end, row, start)
        at = self.num_decodes
        for i in range(self.num_decodes, len(lens)):
            self.chunks.append((at, at + lens[i], inputs.row_ids[i], inputs.starts[i]))
            at += lens[i]

    def plan_decodes(self, inputs: Inputs) -> None:
        """Busy rows lie together at the cache's beginning, so all of them are read in place, idle ones between included."""
        n = self.num_decodes
        rows = inputs.row_ids[:n]
        self.num_rows = max(rows, default=-1) + 1
        self.in_place = rows == list(range(n))
        self.rows = inputs.rows[:n]
        self.length = 1 + max(inputs.starts[:n], default=-1)
        self.last = inputs.positions.new_zeros(self.num_rows)  # the position that each row's query has
        self.last[self.rows] = inputs.positions[:n]

    def __call__(self, layer: LayerInfo, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q [N, Hq, D], k and v [N, Hkv, D] -> [N, Hq, D]."""
        self.cache.write(layer.index, self.places, k, v)
        decoded = self.decode(layer, q[: self.num_decodes]) if self.num_decodes else None
        if decoded is not None and not self.chunks:
            return decoded
        out = torch.empty_like(q)
        if decoded is not None:
            out[: self.num_decodes] = decoded
        for i, (first, end, row, start) in enumerate(self.chunks):
            out[first:end] = self.chunk(layer, i, q[first:end], row, start)
        return out

    def decode(self, layer: LayerInfo, q: Tensor) -> Tensor:
        """q [B, Hq, D], one token a request -> [B, Hq, D]."""
        if not self.in_place:
            by_row = q.new_zeros(self.num_rows, *q.shape[1:])
            by_row[self.rows] = q
            q = by_row
        k = self.cache.k[layer.index][: self.num_rows, :, : self.length]
        v = self.cache.v[layer.index][: self.num_rows, :, : self.length]
        mask = self.mask(-1, layer.window, self.last[:, None], self.length, q.dtype)
        # A query a row: heads that share keys are the rows of one matrix, and no kernel of many queries is in the way.
        q = (q * layer.scale).unflatten(1, (layer.num_kv_heads, -1))  # [rows, Hkv, G, D]
        weights = (q @ k.transpose(2, 3) + mask[:, None]).softmax(dim=-1, dtype=torch.float32)
        out = (weights.to(v.dtype) @ v).flatten(1, 2)
        return out if self.in_place else out[self.rows]

    def chunk(self, layer: LayerInfo, i: int, q: Tensor, row: int, start: int) -> Tensor:
        """q [n, Hq, D], consecutive tokens of one request -> [n, Hq, D]."""
        end = start + len(q)
        k = self.cache.k[layer.index][row : row + 1, :, :end]
        v = self.cache.v[layer.index][row : row + 1, :, :end]
        positions = torch.arange(start, end, device=q.device)
        mask = self.mask(i, layer.window, positions, end, q.dtype)  # [n, S]
        grouped = layer.num_heads != layer.num_kv_heads
        out = F.scaled_dot_product_attention(
            q[None].transpose(1, 2), k, v, mask, scale=layer.scale, enable_gqa=grouped
        )
        return out.transpose(1, 2)[0]

    def mask(
        self, share: int, window: int | None, positions: Tensor, length: int, dtype: torch.dtype
    ) -> Tensor:
        """positions [..., n] of queries -> [..., n, length]: 0 where a key may be seen, -inf where not."""
        if (share, window) not in self.masks:
            distance = positions[..., None] - torch.arange(length, device=positions.device)
            hidden = distance < 0 if window is None else (distance < 0) | (distance >= window)
            mask = torch.zeros(hidden.shape, dtype=dtype, device=positions.device)
            self.masks[share, window] = mask.masked_fill_(hidden, -torch.inf)
        return self.masks[share, window]
