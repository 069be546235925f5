"""The table that grows: how long a text takes with and without a cache, by its length."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

from rich.table import Table

from common.models import Model
from common.terminal.console import live, make_table

from .. import engine
from .runs import generated, stepwise, timed

COLUMNS = ("tokens", "without a cache", "per token", "with it", "per token", "speed-up")


def choose_lengths(prompt: int, window: int) -> list[int]:
    """Four lengths beyond the prompt, each twice the last if there is room; fewer only in a tiny window."""
    top = min(window, max(256, 2 * prompt))
    doubling = [top // 8, top // 4, top // 2, top]
    even = [prompt + (top - prompt) * i // 4 for i in range(1, 5)]
    lengths = doubling if doubling[0] >= prompt + 8 else even
    return sorted({n for n in lengths if n > prompt + 1})


def show_growth(
    without: ModuleType, model: Model, prompt: Sequence[int], lengths: Sequence[int]
) -> list[float]:
    """Measures both sides at each length, showing each row as soon as it is measured. Returns the speed-ups."""
    cached = timed(len(prompt), generated(engine, model, prompt, lengths[-1]))
    text = [*prompt, *cached.tokens]
    rows: list[list[object]] = []
    speedups: list[float] = []
    seconds, done = 0.0, len(prompt)
    with live() as view:
        for total in lengths:
            run, _ = stepwise(without, model, text, done, total)
            seconds, done = seconds + run.seconds[-1], total
            new = total - len(prompt)
            speedups.append(seconds / cached.until(total))
            rows.append([total, *pair(seconds, new), *pair(cached.until(total), new), f"{speedups[-1]:.1f}x"])
            view.update(grown(rows))
    return speedups


def grown(rows: Sequence[Sequence[object]]) -> Table:
    return make_table(COLUMNS, rows)


def pair(seconds: float, tokens: int) -> tuple[str, str]:
    """Total and per token."""
    return f"{seconds:.2f} s", f"{1000 * seconds / tokens:.2f} ms"
