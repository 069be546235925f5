"""Sends the requests of a plan when they are due, and ends in order on Ctrl-C. Knows no protocol.

An open loop never waits for the server: each request has a task of its own, so a slow answer delays no arrival
(otherwise the measurement would leave out the very requests that suffer most).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from .prompts import Planned
from .record import Record, Status, Target

__all__ = ["Run", "drive"]


@dataclass(slots=True)
class Run:
    records: list[Record]  # in the plan's order
    started: float  # seconds of time.perf_counter
    interrupted: bool = False


async def drive(
    target: Target,
    plan: Sequence[Planned],
    in_flight: int | None = None,
    on_done: Callable[[], None] = lambda: None,
) -> Run:
    """Runs a plan to its end, or until the task is cancelled; then what has not ended counts as interrupted.

    Args:
        in_flight: of a closed loop: the number of requests at a time. None: each at its `due`.
        on_done: called when a request has ended.
    """
    run = Run([Record.of(request) for request in plan], time.perf_counter())
    pairs = list(zip(plan, run.records, strict=True))

    async def one(request: Planned, record: Record) -> None:
        record.due = time.perf_counter() if request.due is None else run.started + request.due
        await asyncio.sleep(max(0.0, record.due - time.perf_counter()))
        await target.send(request, record)
        on_done()

    async def worker(rest: Iterator[tuple[Planned, Record]]) -> None:
        for request, record in rest:  # the workers share one iterator
            await one(request, record)

    rest = iter(pairs)
    tasks = (
        [asyncio.create_task(worker(rest)) for _ in range(in_flight)]
        if in_flight
        else [asyncio.create_task(one(*pair)) for pair in pairs]
    )
    try:
        await asyncio.gather(*tasks)
    except asyncio.CancelledError:  # Ctrl-C, as asyncio.run passes it on
        run.interrupted = True
        if task := asyncio.current_task():
            task.uncancel()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for record in run.records:
        if not record.finished:  # `send` did not come to its end
            record.end(Status.INTERRUPTED)
            record.finished = time.perf_counter()
        target.settle(record)
    return run
