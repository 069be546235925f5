"""Solution of exercise 2."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def draw(logits: Tensor, noise: Tensor, n: int) -> list[int]:
    chosen: list[int] = (logits + noise).topk(n).indices.tolist()
    return chosen


def probability(logits: Tensor, tokens: Sequence[int]) -> float:
    chances, left, product = logits.double().softmax(-1), 1.0, 1.0
    for token in tokens:
        product *= float(chances[token]) / left
        left -= float(chances[token])
    return product
