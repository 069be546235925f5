"""Exercise 3: leave the queue at once, without a search.

`scheduler.py` takes a cancelled request out of its deque with `remove`, which looks at one request after
another. That is nothing for a queue of 256. It is a lot for a queue of 100,000 from which everyone hangs up
because it is so long. Build a queue in which `cancel` costs the same for any length. Cancelled requests must
not stay behind: their memory is free as soon as they leave, and the length counts only the requests that are
still waiting.

(One trap: a plain dict keeps its order and deletes fast, but `next(iter(d))` walks over everything that was
ever deleted at its front. The standard library has a relative that does not.)

Fill in the class. This command checks it:

    .venv/bin/python -m pytest stages/s06_request_queue/exercises/test_ex3_cancel.py
"""

from __future__ import annotations

from typing import Any


class Waiting:
    """First come, first served; each request has an id."""

    def __init__(self, most: int):
        self.most = most  # requests that may wait

    def push(self, request_id: str, request: Any) -> bool:
        """Puts it at the end -> True; False if `most` are waiting already. Raises KeyError for an id that is waiting."""
        raise NotImplementedError("put it at the end, unless the queue is full")

    def pop(self) -> Any:
        """Takes out the one that has waited longest. Raises IndexError if none is waiting."""
        raise NotImplementedError("take the first one out")

    def cancel(self, request_id: str) -> Any:
        """Takes this one out, wherever it is -> the request; None if it is not waiting (any more)."""
        raise NotImplementedError("take it out")

    def place(self, request_id: str) -> int | None:
        """How many are ahead of it; None if it is not waiting. This one may look at all of them."""
        raise NotImplementedError("count those ahead of it")

    def __len__(self) -> int:
        raise NotImplementedError("how many are waiting?")
