"""Exercise 1: Little's law, from timestamps.

In any system that starts and ends in the same state, L = a W: the average number of customers inside is the
rate of arrivals times the average time that each customer spends inside (Little, 1961). It does not matter
how arrivals are distributed, who is served first, or what happens inside. That makes it the first thing to
check in the numbers of a queue: if L, a and W were counted separately and the law does not hold, one of them
was counted wrong.

Fill in the three functions. This command checks them:

    .venv/bin/python -m pytest stages/s06_request_queue/exercises/test_ex1_littles_law.py
"""

from __future__ import annotations

from collections.abc import Sequence

# Seconds: when a request entered the queue, and when it left (because it ran, or was cancelled).
Interval = tuple[float, float]


def average_inside(intervals: Sequence[Interval], begin: float, end: float) -> float:
    """L: how many requests are inside between `begin` and `end`, averaged over time.

    Some arrived before `begin` or left after `end`: only the part in between counts. (This is not an average
    over requests: a second in which three are waiting counts three times as much as a second in which one
    is.)
    """
    raise NotImplementedError("average over time")


def law_holds(intervals: Sequence[Interval], tolerance: float = 0.01) -> bool:
    """Whether L = a W from the first arrival to the last departure, within `tolerance` times L.

    Compute the three from the intervals, each in its own way. There is at least one interval.
    """
    raise NotImplementedError("compare L with a W")


def mean_wait(rate: float, services: Sequence[float]) -> float:
    """The expected wait of a request that arrives at a random moment, in seconds: a E[S^2] / (2 (1 - a E[S])).

    rate: arrivals per second, at random (Poisson). services: some service times, in seconds. The result is
    infinite if more work arrives than the engine can do: the queue then grows for as long as requests arrive.
    """
    raise NotImplementedError("Pollaczek and Khinchine")
