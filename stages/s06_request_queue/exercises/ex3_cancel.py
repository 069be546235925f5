"""Exercise 3: who hangs up leaves the queue, at once and without a search.

`engine.py` takes a cancelled request out of its deque by `remove`, which looks at one request after the other: nothing for a queue
of 256, much for one of 100,000 from which everybody hangs up because it is so long. Build one in which `cancel` costs the
same for any length. Cancelled requests must not stay behind as corpses: what they hold is free as soon as they are
gone, and the length is the number of those who still wait.

(One trap: a plain dict keeps its order and deletes fast, but `next(iter(d))` walks over everything that was ever deleted at its
front. The standard library has a relative that does not.)

Fill in the class. `pytest stages/s06_request_queue/exercises/test_ex3_cancel.py` checks it.
"""

from __future__ import annotations

from typing import Any


class Waiting:
    """First come, first served; each request has an id."""

    def __init__(self, most: int):
        self.most = most  # requests that may wait

    def push(self, request_id: str, request: Any) -> bool:
        """Puts it at the end -> True; False when `most` wait already. Raises KeyError for an id that waits already."""
        raise NotImplementedError("put it at the end, unless it is full")

    def pop(self) -> Any:
        """Takes out the one that has waited longest. Raises IndexError when nobody waits."""
        raise NotImplementedError("take the first one out")

    def cancel(self, request_id: str) -> Any:
        """Takes this one out, wherever it stands -> the request; None if it does not wait (any more)."""
        raise NotImplementedError("take it out")

    def place(self, request_id: str) -> int | None:
        """How many stand before it; None if it does not wait. This one may look at all of them."""
        raise NotImplementedError("count those before it")

    def __len__(self) -> int:
        raise NotImplementedError("how many wait?")
