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
        # All scores grow alike, by 1 / patience a second, so the order of two requests never changes: the score at time 0 will do.
        score = priority - arrived / self.patience
        heapq.heappush(
            self.heap, (-score, next(self.numbers), request)
        )  # the number: equal scores, and no comparing of requests

    def pop(self) -> Any:
        return heapq.heappop(self.heap)[2]

    def __len__(self) -> int:
        return len(self.heap)


def overtaken_for(patience: float, levels: int) -> float:
    return patience * (levels - 1)  # then even the lowest has risen above whoever comes new at the top
