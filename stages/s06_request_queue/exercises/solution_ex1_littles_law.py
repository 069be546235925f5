"""Solution of exercise 1."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

Interval = tuple[float, float]


def average_inside(intervals: Sequence[Interval], begin: float, end: float) -> float:
    # Each request adds 1 for as long as it is inside: the area under the curve is the sum of the lengths.
    area = sum(max(0.0, min(left, end) - max(came, begin)) for came, left in intervals)
    return area / (end - begin)


def law_holds(intervals: Sequence[Interval], tolerance: float = 0.01) -> bool:
    begin, end = min(came for came, _ in intervals), max(left for _, left in intervals)
    if begin == end:
        return True  # no request was inside for any time
    inside = average_inside(intervals, begin, end)
    rate = len(intervals) / (end - begin)
    wait = fmean(left - came for came, left in intervals)
    return math.isclose(inside, rate * wait, rel_tol=tolerance)


def mean_wait(rate: float, services: Sequence[float]) -> float:
    load = rate * fmean(services)
    if load >= 1:
        return math.inf
    return rate * fmean(s * s for s in services) / (2 * (1 - load))
