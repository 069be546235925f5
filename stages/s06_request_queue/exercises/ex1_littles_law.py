"""Exercise 1: Little's law, from timestamps.

In any system that is left as it was found, L = a W: the number of customers inside, averaged over time, is the rate of
arrivals times the time that each of them is inside, on average (Little, 1961). It does not matter how arrivals are
distributed, who is served first, or what happens inside. So it is the first thing to check in a queue's numbers: where L, a and W
were counted separately and the law does not hold, one of them was counted wrong.

Fill in the three functions. `pytest stages/s06_request_queue/exercises/test_ex1_littles_law.py` checks them.
"""

from __future__ import annotations

from collections.abc import Sequence

Interval = tuple[
    float, float
]  # seconds: a request came into the queue, and left it (it ran, or was cancelled)


def average_inside(intervals: Sequence[Interval], begin: float, end: float) -> float:
    """L: how many requests are inside between `begin` and `end`, averaged over time.

    Some came before `begin` or left after `end`: only the part that lies between counts. (Not an average over requests: a moment
    in which three wait counts three times as much as one in which one waits.)
    """
    raise NotImplementedError("average over time")


def law_holds(intervals: Sequence[Interval], tolerance: float = 0.01) -> bool:
    """Whether L = a W from the first arrival to the last departure, within a share of L.

    Compute the three from the intervals, each in its own way. There is at least one interval.
    """
    raise NotImplementedError("compare L with a W")


def mean_wait(rate: float, services: Sequence[float]) -> float:
    """What a request that comes at a random moment must expect to wait, in seconds: a E[S^2] / (2 (1 - a E[S])).

    rate: arrivals per second, at random (Poisson). services: some service times, in seconds. Infinity where the engine has more to do than it can:
    nobody's wait is finite then, however long the queue may be.
    """
    raise NotImplementedError("Pollaczek and Khinchine")
