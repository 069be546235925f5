"""Solution of exercise 2."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def forbidden(tokens: Sequence[int], n: int) -> set[int]:
    if len(tokens) < n:
        return set()
    last = list(tokens[len(tokens) - n + 1 :])  # not tokens[-(n - 1):], which is all of them for n = 1
    starts = range(len(tokens) - n + 1)
    return {tokens[i + n - 1] for i in starts if list(tokens[i : i + n - 1]) == last}


def choose(logits: Tensor, tokens: Sequence[int], n: int) -> int:
    allowed = logits.clone()
    allowed[list(forbidden(tokens, n))] = -torch.inf
    return int(allowed.argmax())
