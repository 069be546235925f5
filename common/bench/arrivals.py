"""When requests arrive: patterns as seconds after the start, the same for the same seed.

An open loop sends at these times whatever the server does; a closed loop sends when an earlier request is done, and has
no times.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate

from common.errors import UserError
from common.terminal.command_line import choose

__all__ = ["CLOSED", "PATTERNS", "Arrivals", "poisson_gaps", "poisson_times"]

CLOSED = ("sequential", "closed")


@dataclass(frozen=True, slots=True)
class Arrivals:
    """A pattern and its numbers. Raises UserError where they do not fit together."""

    pattern: str = "sequential"
    rate: float = 0.0  # requests/s; of "ramp": at its end
    start_rate: float = 0.0  # of "ramp", requests/s
    burst: int = 8  # requests of one burst
    concurrency: int = 1  # of "closed": requests in flight

    def __post_init__(self) -> None:
        choose("arrivals", self.pattern, (*CLOSED, *PATTERNS))
        if self.pattern in ("uniform", "poisson", "burst", "ramp") and not 0 < self.rate < math.inf:
            raise UserError(f"rate = {self.rate:g}: arrivals {self.pattern!r} need more than 0 requests/s")
        if self.start_rate < 0:
            raise UserError(f"start_rate = {self.start_rate:g}: must not be below 0")
        for name in ("burst", "concurrency"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} = {getattr(self, name)}: must be at least 1")

    @property
    def in_flight(self) -> int | None:
        """Of a closed loop: how many requests at a time. None: the times decide."""
        return {"sequential": 1, "closed": self.concurrency}.get(self.pattern)

    def times(self, count: int, seed: int | str) -> list[float] | None:
        """`count` arrivals in order, seconds after the start. None for a closed loop."""
        if self.in_flight is not None:
            return None
        return PATTERNS[self.pattern](self, count, f"arrivals {seed}")

    def __str__(self) -> str:
        about = {
            "sequential": "one after another",
            "closed": f"{self.concurrency} in flight at all times",
            "at_once": "all at once",
            "uniform": f"evenly, {self.rate:g} requests/s",
            "poisson": f"Poisson, {self.rate:g} requests/s",
            "burst": f"bursts of {self.burst}, {self.rate:g} requests/s in the mean",
            "ramp": f"a ramp from {self.start_rate:g} to {self.rate:g} requests/s",
        }
        return about[self.pattern]


def poisson_gaps(count: int, seed: int | str) -> list[float]:
    """Independent, exponentially distributed gaps with mean 1: the same ones for every rate, which only stretches them."""
    rng = random.Random(seed)
    return [rng.expovariate(1.0) for _ in range(count)]


def poisson_times(count: int, rate: float, seed: int | str) -> list[float]:
    """Moments of `count` arrivals at `rate` per second; the first gap comes before the first arrival."""
    return list(accumulate(gap / rate for gap in poisson_gaps(count, seed)))


def at_once(a: Arrivals, count: int, seed: int | str) -> list[float]:
    return [0.0] * count


def uniform(a: Arrivals, count: int, seed: int | str) -> list[float]:
    return [i / a.rate for i in range(count)]


def poisson(a: Arrivals, count: int, seed: int | str) -> list[float]:
    return poisson_times(count, a.rate, seed)


def burst(a: Arrivals, count: int, seed: int | str) -> list[float]:
    """`a.burst` at the same moment, then a pause that keeps the mean rate."""
    return [i // a.burst * a.burst / a.rate for i in range(count)]


def ramp(a: Arrivals, count: int, seed: int | str) -> list[float]:
    """The rate grows linearly in time. Arrival i is where its integral, r0 t + (r1 - r0) t^2 / 2T, reaches i."""
    r0, r1 = a.start_rate, a.rate
    total = 2 * count / (r0 + r1)  # T: a mean rate of (r0 + r1) / 2 brings `count` requests
    slope = (r1 - r0) / total
    # The root of slope/2 t^2 + r0 t = i, in the form that needs no division by the slope, which may be 0.
    return [2 * i / (r0 + math.sqrt(max(0.0, r0 * r0 + 2 * slope * i))) if i else 0.0 for i in range(count)]


PATTERNS: dict[str, Callable[[Arrivals, int, int | str], list[float]]] = {
    "at_once": at_once, "uniform": uniform, "poisson": poisson, "burst": burst, "ramp": ramp,
}  # fmt: skip
