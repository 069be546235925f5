"""Solution of exercise 2."""

from __future__ import annotations

from collections.abc import Sequence


def padding(lengths: Sequence[int], limits: Sequence[int]) -> int:
    prompts = len(lengths) * max(lengths) - sum(lengths)
    # The first token of each is not padding and is not fed either.
    return prompts + len(limits) * max(limits) - sum(limits)


def choose(lengths: Sequence[int], rows: int) -> list[list[int]]:
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    return [order[at : at + rows] for at in range(0, len(order), rows)]
