"""Exercise 1: the cache's `write`.

A layer keeps its keys and values as [Hkv, capacity, D]; token i of the text lies at index i. A step brings those of N new
tokens as [N, Hkv, D], as the projection makes them, and needs back those of all tokens so far.

Fill in `write`. `pytest stages/s03_kv_cache/exercises/test_ex1_write.py` checks it.
"""

from __future__ import annotations

import torch
from torch import Tensor


class LayerCache:
    """The keys and values of one layer."""

    def __init__(self, kv_heads: int, capacity: int, head_dim: int):
        self.k = torch.zeros(kv_heads, capacity, head_dim)
        self.v = torch.zeros(kv_heads, capacity, head_dim)

    def write(self, start: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """k, v [N, Hkv, D] of the tokens at positions start to start + N - 1 -> those of all up to there, [Hkv, T, D].

        Tokens before `start` stay as they are, and so does what lies behind. The result must not be a copy: a copy of the
        whole past at every step is what the cache is there to spare us (how can you tell? by its `data_ptr`).
        """
        raise NotImplementedError("write it")
