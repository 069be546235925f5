"""Throughput by number of requests under what memory and arithmetic allow, and what the crowd costs each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from common.bench.plots import GREY, line, name_lines, new_figure, powers
from common.tutorial.texts.ladder import Row, rows_of

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
    sizes, rows = result["workload"]["batches"], rows_of(result)
    figure, first = new_figure("What company costs", "", "first token, ms (P50)", height=6.2)
    grid = figure.add_gridspec(2, 1)
    first.set_subplotspec(grid[0])
    second = figure.add_subplot(grid[1], sharex=first)
    _dress(second)
    second.set_ylabel("next token, ms (P50)")
    second.set_xlabel("requests at once")
    for axes, name in ((first, "ttft_p50_ms"), (second, "itl_p50_ms")):
        _lines(axes, sizes, rows, name)
        powers(axes, sizes)
    first.set_yscale("log")
    first.yaxis.set_major_formatter(FuncFormatter(lambda value, position: f"{value:,.10g}"))
    second.set_ylim(bottom=0)
    for axes in (first, second):
        name_lines(axes, gap=0.09)
    return figure


def _lines(axes: Axes, sizes: Sequence[int], rows: Sequence[Row], name: str) -> None:
    for row in rows:
        points = [(n, row.values[f"batch_{n}_{name}"]) for n in sizes if f"batch_{n}_{name}" in row.values]
        if points:
            label = f"stage {row.label}" if row.is_stage else row.label
            line(axes, [x for x, _ in points], [y for _, y in points], label)


def _dress(axes: Axes) -> None:
    """The look of `new_figure`'s axes, for a second pair."""
    axes.tick_params(length=0, colors=GREY, labelsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    axes.grid(axis="y", color="#E2E2E2", linewidth=0.8)
    axes.set_axisbelow(True)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color="#333333", fontsize=11)
