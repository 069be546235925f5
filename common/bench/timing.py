"""Stopwatches and statistics: what is measured in seconds, and how samples become numbers.

A GPU runs asynchronously, so each reading of the clock first waits for the device it is about.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from common.errors import UserError

if TYPE_CHECKING:  # the maintainers' tools read results without paying for torch
    import torch

T = TypeVar("T")

__all__ = ["Timer", "in_turns", "interleave", "median", "now", "percentiles", "synchronize"]


def synchronize(device: str | torch.device | None) -> None:
    """Wait until the work queued on `device` is done. Nothing to do for a CPU or None."""
    kind = str(device).partition(":")[0]
    if kind == "cuda":
        import torch

        torch.cuda.synchronize(device)
    elif kind == "mps":
        import torch

        torch.mps.synchronize()


def now(device: str | torch.device | None = None) -> float:
    """Seconds on a clock that only grows, after `device` has finished its work."""
    synchronize(device)
    return time.perf_counter()


class Timer:
    """`with Timer(device) as timer: ...`, then `timer.seconds`."""

    def __init__(self, device: str | torch.device | None = None) -> None:
        self.device = device
        self.seconds = math.nan

    def __enter__(self) -> Timer:
        self._start = now(self.device)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds = now(self.device) - self._start


def interleave(
    functions: Mapping[str, Callable[[], object]],
    repeats: int = 5,
    warmup: int = 1,
    device: str | torch.device | None = None,
) -> dict[str, list[float]]:
    """Seconds of each function, called in turns (A B A B ...), so that a noisy minute hits all sides alike.

    warmup: untimed rounds first. The garbage collector waits meanwhile, as in `timeit`.
    """
    for _ in range(warmup):
        for function in functions.values():
            function()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    collecting = gc.isenabled()
    try:
        for _ in range(repeats):
            gc.collect()
            gc.disable()
            for name, function in functions.items():
                with Timer(device) as timer:
                    function()
                seconds[name].append(timer.seconds)
            if collecting:
                gc.enable()
    finally:
        if collecting:
            gc.enable()
    return seconds


def percentiles(samples: Sequence[float]) -> dict[str, float]:
    """p50, p95, p99 (linear between samples, as NumPy's default) and mean. Raises UserError without samples."""
    if not samples:
        raise UserError("samples: at least one is needed for percentiles")
    ordered = sorted(samples)
    made = {f"p{percent}": _at(ordered, percent / 100) for percent in (50, 95, 99)}
    return made | {"mean": math.fsum(ordered) / len(ordered)}


def median(samples: Sequence[float]) -> float:
    return percentiles(samples)["p50"]


def _at(ordered: Sequence[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def in_turns(names: Sequence[str], rounds: int, run: Callable[[str], T]) -> dict[str, list[T]]:
    """What `run(name)` returns, `rounds` times for each name, after one round that warms up and is left out.

    Each round begins with another name: a side that follows one in another process or thread finds cold caches. As in
    `timeit`, no garbage is collected while sides run, or chance would decide which of them pays for it.
    """
    found: dict[str, list[T]] = {name: [] for name in names}
    enabled = gc.isenabled()
    gc.disable()
    try:
        for turn in range(rounds + 1):
            gc.collect()
            first = turn % len(names)
            for name in (*names[first:], *names[:first]):
                value = run(name)
                if turn:
                    found[name].append(value)
    finally:
        if enabled:
            gc.enable()
    return found
