"""Throughput by number of requests under what memory and arithmetic allow, and what the crowd costs each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from common.plots import line, name_lines, new_figure, powers
from common.tutorial.ladder import Row, rows_of

__all__ = ["latency", "throughput"]


def throughput(result: Mapping[str, Any]) -> Figure:
    """Sides as lines, the roof above them dashed: reading up to where arithmetic takes over."""
    sizes, values = result["workload"]["batches"], result["values"]
    figure, axes = new_figure(
        "The weights are read once for all", "requests at once", "tokens per second", height=4.6
    )
    _lines(axes, sizes, rows_of(result), "tokens_per_s")
    reading = [values[f"bound_batch_{n}_tokens_per_s"]["value"] for n in sizes]
    arithmetic = values["arithmetic_tokens_per_s"]["value"]
    line(axes, sizes, [min(one, arithmetic) for one in reading], "machine allows", dashed=True)
    powers(axes, sizes)
    axes.set_yscale("log")
    name_lines(axes)
    return figure


def latency(result: Mapping[str, Any]) -> Figure:
    """TTFT and ITL by number of requests, one above the other."""
    sizes = result["workload"]["batches"]
    figure, first = new_figure("What company costs", "", "first token, ms (P50)", height=6.2)
    rows = rows_of(result)
    first.remove()
    axes = figure.subplots(2, 1, sharex=True)
    _dress(axes, first)
    for one, name, label in (
        (axes[0], "ttft_p50_ms", "first token, ms (P50)"),
        (axes[1], "itl_p50_ms", "next token, ms (P50)"),
    ):
        _lines(one, sizes, rows, name)
        powers(one, sizes)
        one.set_yscale("log")
        one.set_ylabel(label)
        name_lines(one, gap=0.09)
    axes[1].set_xlabel("requests at once")
    axes[0].set_title(first.get_title(loc="left"), loc="left")
    return figure


def _lines(axes: Axes, sizes: Sequence[int], rows: Sequence[Row], name: str) -> None:
    for row in rows:
        points = [(n, row.values[f"batch_{n}_{name}"]) for n in sizes if f"batch_{n}_{name}" in row.values]
        if points:
            line(
                axes,
                [x for x, _ in points],
                [y for _, y in points],
                f"stage {row.label}" if row.is_stage else row.label,
            )


def _dress(axes: Any, like: Axes) -> None:
    """Two axes as `new_figure` makes one."""
    for one in axes:
        one.tick_params(length=0)
