"""The reference `attend` of a flat batch: every token sees its own request's past and nothing else.

Keys and values of earlier tokens come from the cache. Requests that decode, one token each, are one call for all;
a share of a prompt is a call of its own. Shapes: N tokens in all, B requests, S tokens in the longest context, Hq query
heads, Hkv key/value heads, G = Hq / Hkv query heads that share keys, D head size.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from common.models import LayerInfo

from .batch import Inputs
from .kv_cache import KVCache

ALIGN = (
    16  # lengths are multiples of it where the cache has room: the kernels of a GPU copy any other mask first
)


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
        self.chunks = []  # (slice of the tokens, slice of the cache's rows, positions, tokens in the cache)
        at = self.num_decodes
        for i in range(self.num_decodes, len(lens)):
            tokens, row = slice(at, at + lens[i]), inputs.row_ids[i]
            end = self.align(inputs.starts[i] + lens[i])
            self.chunks.append((tokens, slice(row, row + 1), inputs.positions[None, tokens], end))
            at += lens[i]

    def plan_decodes(self, inputs: Inputs) -> None:
        """Busy rows lie together at the cache's beginning, so all of them are read in place, idle ones between included."""
        n = self.num_decodes
        rows = inputs.row_ids[:n]
        self.num_rows = max(rows, default=-1) + 1
        self.in_place = rows == list(range(n))
        self.rows = inputs.rows[:n]
        self.length = self.align(1 + max(inputs.starts[:n], default=-1))
        self.last = inputs.positions.new_zeros(self.num_rows)  # the position that each row's query has
        self.last[self.rows] = inputs.positions[:n]

    def align(self, length: int) -> int:
        return min(-(-length // ALIGN) * ALIGN, self.cache.capacity)

    def __call__(self, layer: LayerInfo, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q [N, Hq, D], k and v [N, Hkv, D] -> [N, Hq, D]."""
        self.cache.write(layer.index, self.places, k, v)
        decoded = self.decode(layer, q[: self.num_decodes]) if self.num_decodes else None
        if decoded is not None and not self.chunks:
            return decoded
        out = torch.empty_like(q)
        if decoded is not None:
            out[: self.num_decodes] = decoded
        for i, (tokens, row, positions, length) in enumerate(self.chunks):
            out[tokens] = self.look(layer, q[None, tokens], row, length, i, positions)[0]
        return out

    def decode(self, layer: LayerInfo, q: Tensor) -> Tensor:
        """q [B, Hq, D], one token a request -> [B, Hq, D]."""
        if not self.in_place:
            by_row = q.new_zeros(self.num_rows, *q.shape[1:])
            by_row[self.rows] = q
            q = by_row
        out = self.look(layer, q[:, None], slice(self.num_rows), self.length, -1, self.last[:, None])[:, 0]
        return out if self.in_place else out[self.rows]

    def look(
        self, layer: LayerInfo, q: Tensor, rows: slice, length: int, share: int, positions: Tensor
    ) -> Tensor:
        """q [R, n, Hq, D], n tokens of each of R rows of the cache, positions [R, n] -> [R, n, Hq, D]."""
        n, dtype = q.shape[1], q.dtype
        k, v = (kept[layer.index][rows, :, :length] for kept in (self.cache.k, self.cache.v))
        # Query heads that share keys stand where more tokens of one head would: [R, Hkv, G * n, D], and no key is copied.
        q = q.unflatten(2, (layer.num_kv_heads, -1)).permute(0, 2, 3, 1, 4).flatten(2, 3).to(k.dtype)
        if (share, layer.window) not in self.masks:
            mask = self.mask(layer.window, positions, length, q.dtype)
            self.masks[share, layer.window] = mask.repeat(1, q.shape[2] // n, 1)[:, None]
        mask = self.masks[share, layer.window].expand(-1, layer.num_kv_heads, -1, -1)
        out = F.scaled_dot_product_attention(q, k, v, mask, scale=layer.scale)
        return out.to(dtype).unflatten(2, (-1, n)).permute(0, 3, 1, 2, 4).flatten(2, 3)

    @staticmethod
    def mask(window: int | None, positions: Tensor, length: int, dtype: torch.dtype) -> Tensor:
        """positions [R, n] of queries -> [R, n, length]: 0 where a key may be seen, -inf where not."""
        distance = positions[..., None] - torch.arange(length, device=positions.device)
        hidden = distance < 0 if window is None else (distance < 0) | (distance >= window)
        return torch.zeros(hidden.shape, dtype=dtype, device=positions.device).masked_fill_(
            hidden, -torch.inf
        )
