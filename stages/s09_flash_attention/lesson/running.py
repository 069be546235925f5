"""The running softmax on plain numbers, to look at it step by step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """What is known after a tile. The sums are relative to `highest`."""

    scores: Sequence[float]
    highest: float
    correction: float  # what the earlier sums were multiplied by
    total: float  # sum of exp(score - highest)
    out: float  # sum of exp(score - highest) * value


def running_softmax(scores: Sequence[float], values: Sequence[float], tile: int) -> Iterator[Step]:
    """The softmax-weighted average of `values`, in tiles: after the last one it is out / total."""
    highest, total, out = -math.inf, 0.0, 0.0
    for start in range(0, len(scores), tile):
        part = scores[start : start + tile]
        new = max(highest, *part)
        correction = math.exp(highest - new)
        weights = [math.exp(score - new) for score in part]
        total = total * correction + sum(weights)
        weighted = zip(weights, values[start : start + tile], strict=True)
        out = out * correction + sum(weight * value for weight, value in weighted)
        highest = new
        yield Step(part, highest, correction, total, out)
