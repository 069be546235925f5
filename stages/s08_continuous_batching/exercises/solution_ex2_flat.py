"""Solution of exercise 2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Flat(NamedTuple):
    tokens: list[int]
    positions: list[int]
    cu_seqlens_q: list[int]
    logits_indices: list[int]


def flatten(texts: Sequence[Sequence[int]], starts: Sequence[int], counts: Sequence[int]) -> Flat:
    flat = Flat([], [], [0], [])
    for text, start, count in zip(texts, starts, counts, strict=True):
        flat.tokens.extend(text[start : start + count])
        flat.positions.extend(range(start, start + count))
        flat.cu_seqlens_q.append(len(flat.tokens))
        if start + count == len(text):
            flat.logits_indices.append(len(flat.tokens) - 1)
    return flat
