"""All chunks of prompts in a step as one call of torch's variable-length kernel, which needs a GPU and 16 bits.

The kernel takes all queries end to end and all keys end to end. For two requests, of 3 and 2 new tokens in contexts of 5
and 2:

    queries  a2 a3 a4 b0 b1          cu_seqlens_q = 0 3 5
    keys     a0 a1 a2 a3 a4 b0 b1    cu_seqlens_k = 0 5 7
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor

from common.models import LayerInfo

from .batch import Inputs
from .kv_cache import KVCache


class Chunks:
    """Planned once per step, called once per layer."""

    def __init__(self, inputs: Inputs, first: int):
        """All requests from number `first` on."""
        from torch.nn.attention.varlen import varlen_attn

        self.attend = varlen_attn
        # Until torch 2.11 grouped heads need no flag, and there is none.
        self.has_flag = "enable_gqa" in inspect.signature(varlen_attn).parameters
        query_lens, context_lens = inputs.query_lens[first:], inputs.context_lens[first:]
        self.tokens = slice(sum(inputs.query_lens[:first]), None)  # of the flat list
        self.max_q, self.max_k = max(query_lens), max(context_lens)
        # [number of chunks + 1] each, from 0 again.
        cu_q, cu_k = inputs.cu_seqlens_q[first:], inputs.cu_seqlens_k[first:]
        self.cu_q, self.cu_k = (cu_q - cu_q[0]).int(), (cu_k - cu_k[0]).int()
        # Where the cache keeps each key: [keys in all], its row and its position in the row.
        lens, total = cu_k.diff(), sum(context_lens)
        self.rows = inputs.cache_rows[first:].repeat_interleave(lens, output_size=total)
        begins = (cu_k[:-1] - cu_k[0]).repeat_interleave(lens, output_size=total)
        self.positions = torch.arange(total, device=begins.device) - begins

    def __call__(self, layer: LayerInfo, q: Tensor, cache: KVCache) -> Tensor:
        """q [tokens, Hq, D] -> [tokens, Hq, D]."""
        k, v = (kept[layer.index][self.rows, :, self.positions] for kept in (cache.k, cache.v))
        # How far a query sees to its left and to its right; -1: without a limit.
        window = (-1 if layer.window is None else layer.window - 1, 0)
        grouped = layer.num_heads != layer.num_kv_heads
        more: dict[str, Any] = {"enable_gqa": True} if grouped and self.has_flag else {}
        lengths = self.cu_q, self.cu_k, self.max_q, self.max_k
        out = self.attend(q.to(k.dtype), k, v, *lengths, scale=layer.scale, window_size=window, **more)
        # It can return more than the result, if asked to.
        assert isinstance(out, torch.Tensor)
        return out.to(q.dtype)
