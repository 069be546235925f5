"""Exercise 2: a layer with a sliding window needs only its window, not the whole text.

The token at position p looks at positions p - window + 1 to p. Anything further back is never read again, so its slot
can be reused: token i goes to slot i % window, and the memory is a ring that stays the same size
however long the text becomes.

Fill in the methods. `.venv/bin/python -m pytest stages/s03_kv_cache/exercises/test_ex2_window.py` checks them.
"""

from __future__ import annotations

import torch
from torch import Tensor


class WindowCache:
    """The last `window` keys and values of one layer: [Hkv, window, D] each."""

    def __init__(self, kv_heads: int, window: int, head_dim: int):
        self.window = window
        self.length = 0  # tokens of the text so far, most of which may be gone
        self.k = torch.zeros(kv_heads, window, head_dim)
        self.v = torch.zeros(kv_heads, window, head_dim)

    def write(self, k: Tensor, v: Tensor) -> None:
        """k, v [N, Hkv, D] of the next N tokens of the text. N may be larger than the window: a long prompt.

        Take care: if two tokens have the same slot, the later one must win, and an indexed assignment such as
        `self.k[:, slots] = ...` does not promise which of two writes to one slot comes last.
        """
        raise NotImplementedError("write it")

    def positions(self) -> list[int]:
        """For each slot in use, the position of the token in it. After 6 tokens with a window of 4: [4, 5, 2, 3]."""
        raise NotImplementedError("say which token is where")

    def visible(self) -> tuple[Tensor, Tensor]:
        """What the newest token may look at: k, v [Hkv, T, D] with T at most the window, in the order of the slots.

        The order does not matter to attention (why not?), so nothing has to be sorted or moved.
        """
        raise NotImplementedError("hand out what is there")
