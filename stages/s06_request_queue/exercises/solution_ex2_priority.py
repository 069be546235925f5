"""Solution of exercise 2."""

from __future__ import annotations

import heapq
from itertools import count
from typing import Any


class PriorityQueue:
    def __init__(self, patience: float):
        self.patience = patience
        self.heap: list[tuple[float, int, Any]] = []
        self.numbers = count()

    def push(self, request: Any, priority: int, arrived: float) -> None:
        # All scores grow alike, by 1 / patience per second, so the order of two requests never changes: the score at time 0
        # will do. The number breaks ties, so that requests are never compared.
        score = priority - arrived / self.patience
        heapq.heappush(self.heap, (-score, next(self.numbers), request))

    def pop(self) -> Any:
        return heapq.heappop(self.heap)[2]

    def __len__(self) -> int:
        return len(self.heap)


def overtaken_for(patience: float, levels: int) -> float:
    # By then even the lowest has risen above a new arrival of the highest level.
    return patience * (levels - 1)
