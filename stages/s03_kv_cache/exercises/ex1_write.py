"""Exercise 1: the cache's `write`.

A layer keeps its keys and values as [Hkv, capacity, D]; token i of the text is in slot i. A step brings those of N new
tokens as [N, Hkv, D], as the projection makes them, and needs those of all tokens so far in return.

Fill in `write`. `.venv/bin/python -m pytest stages/s03_kv_cache/exercises/test_ex1_write.py` checks it.
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
        """Writes k, v [N, Hkv, D] at positions start to start + N - 1. Returns all keys and values up to there, [Hkv, T, D].

        Everything before `start` stays as it is, and so does everything after the new tokens. The result must not be a copy:
        copying everything at every step is what the cache is there to avoid. (How can you tell? By its `data_ptr`.)
        """
        raise NotImplementedError("write it")
