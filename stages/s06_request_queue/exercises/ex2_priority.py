"""Exercise 2: a queue with priorities, without starvation.

Paying users first: a higher priority goes before a lower one. But if there is always a paying user, the
others never get their turn. So waiting raises your priority, by one for every `patience` seconds. At any
moment the request with the highest

    priority + seconds waited / patience

goes first, and of two equal ones the one that arrived first. It sounds as if the whole queue had to be sorted
again at every moment. It need not be: think about how the scores of two requests change relative to each
other while both wait.

Fill in the class. This command checks it:

    .venv/bin/python -m pytest stages/s06_request_queue/exercises/test_ex2_priority.py
"""

from __future__ import annotations

from typing import Any


class PriorityQueue:
    """Requests of any kind, each with a priority."""

    def __init__(self, patience: float):
        self.patience = patience  # seconds

    def push(self, request: Any, priority: int, arrived: float) -> None:
        """arrived: seconds on a clock that only goes forward; no later push has an earlier one."""
        raise NotImplementedError("put it in")

    def pop(self) -> Any:
        """Takes out the request that goes first now. Raises IndexError if none is waiting. No scan: O(log n)."""
        raise NotImplementedError("take the first one out")

    def __len__(self) -> int:
        raise NotImplementedError("count them")


def overtaken_for(patience: float, levels: int) -> float:
    """For how many seconds a request of the lowest of `levels` (0, 1, ...) can still be overtaken by later arrivals.

    This is what "cannot starve" means: there is such a bound, and it depends neither on the load nor on the
    queue's length.
    """
    raise NotImplementedError("until when can a later arrival go first?")
