"""Exercise 2: a queue with priorities in which nobody starves.

Paying users first: a higher priority goes before a lower one. But where a paying user is always there, the others would never
get their turn. So who waits rises: by one priority for every `patience` seconds. At any moment the request with

    priority + seconds waited / patience

at its highest goes first, and of two that are equal the one that came first. That sounds as if the order had to be
computed anew at each moment. It need not be: think of how the scores of two requests move against each other while both wait.

Fill in the class. `pytest stages/s06_request_queue/exercises/test_ex2_priority.py` checks it.
"""

from __future__ import annotations

from typing import Any


class PriorityQueue:
    """Requests of any kind, each with a priority."""

    def __init__(self, patience: float):
        self.patience = patience  # seconds

    def push(self, request: Any, priority: int, arrived: float) -> None:
        """arrived: seconds on a clock that only grows; no later push has an earlier one."""
        raise NotImplementedError("put it in")

    def pop(self) -> Any:
        """Takes out who goes first now. Raises IndexError when nobody waits. No scan over all: O(log n)."""
        raise NotImplementedError("take the first one out")

    def __len__(self) -> int:
        raise NotImplementedError("count them")


def overtaken_for(patience: float, levels: int) -> float:
    """For how many seconds somebody who comes later can still go before a request of the lowest of `levels` (0, 1, ...).

    That there is such a bound, and that neither the load nor the length of the queue stands in it, is what "cannot starve" means.
    """
    raise NotImplementedError("until when can somebody who comes later go first?")
