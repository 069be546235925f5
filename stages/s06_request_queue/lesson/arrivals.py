"""Requests that arrive at random, and what queueing theory says about their wait.

One server, first come first served. With Poisson arrivals at rate a and service times S the load is rho = a E[S], and the
mean wait is a E[S^2] / (2 (1 - rho)) (Pollaczek and Khinchine); if all service times are alike (M/D/1), that is
rho S / (2 (1 - rho)). For given arrivals each wait follows from the one before it (Lindley, 1952):
W[n+1] = max(0, W[n] + S[n] - (A[n+1] - A[n])).
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from ..engine import Engine, Request, SamplingParams


@dataclass(frozen=True, slots=True)
class Trial:
    """What one load gave, in seconds per request; `ahead`: how many were waiting when it arrived."""

    arrived: list[float]
    waits: list[float]
    services: list[float]
    ahead: list[int]

    @property
    def rate(self) -> float:
        """Arrivals per second, as they really were."""
        return (len(self.arrived) - 1) / (self.arrived[-1] - self.arrived[0])

    @property
    def service(self) -> float:
        return statistics.fmean(self.services)

    @property
    def wait(self) -> float:
        return statistics.fmean(self.waits)

    @property
    def load(self) -> float:
        """rho: the part of the time in which the engine is busy."""
        return self.rate * self.service


def m_d_1(load: float) -> float:
    """Mean wait, in service times, if all service times are alike."""
    return load / (2 * (1 - load))


def lindley(arrived: Sequence[float], services: Sequence[float]) -> list[float]:
    """Each request's wait for a server that loses no time between two requests."""
    waits = [0.0]
    for i in range(1, len(arrived)):
        waits.append(max(0.0, waits[-1] + services[i - 1] - (arrived[i] - arrived[i - 1])))
    return waits


def drive(engine: Engine, prompt: Sequence[int], params: SamplingParams, gaps: Sequence[float]) -> Trial:
    """Adds a request after each gap (seconds) to an engine that has its thread, and waits for the last of them."""
    requests: list[Request] = []
    ahead, ended = [], threading.Semaphore(0)
    due = time.perf_counter()
    for gap in gaps:
        due += gap
        if (left := due - time.perf_counter()) > 0:
            time.sleep(left)
        ahead.append(len(engine.scheduler.waiting))
        requests.append(
            engine.add(prompt, params, None, lambda output: ended.release() if output.finish_reason else None)
        )
    for _ in requests:
        ended.acquire()
    if failed := [r for r in requests if r.finish_reason != "length"]:
        raise AssertionError(f"{len(failed)} requests did not finish: {failed[0].error}")
    return Trial(
        [r.arrived for r in requests],
        [r.started - r.arrived for r in requests],
        [r.finished - r.started for r in requests],
        ahead,
    )
