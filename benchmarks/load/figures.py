"""Two figures of a run: how latencies are distributed, and how they went with time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure

from common.bench import plots
from common.bench.machine import machine

from .record import Record, Status

__all__ = ["draw"]


def draw(title: str, source: str, records: Sequence[Record], device: str | None, path: Path) -> list[Path]:
    """Writes `path` with `_distribution.png` and `_over_time.png`; nothing where no request was completed."""
    done = sorted((r for r in records if r.status is Status.OK), key=lambda r: r.sent)
    if not done:
        return []
    start = min(r.sent for r in records if r.sent)
    # Points (seconds after the start, ms); a logarithmic axis has no place for 0.
    series = {
        "TTFT": [(r.sent - start, 1000 * r.ttft) for r in done],
        "TPOT": [(r.sent - start, 1000 * (r.tpot or 0)) for r in done],
        "end to end": [(r.sent - start, 1000 * r.latency) for r in done],
    }
    series = {name: kept for name, points in series.items() if (kept := [p for p in points if p[1] > 0])}
    about = machine(device)
    where = str(about.get("gpu") or f"{about['cpu']}, {about['cores']} cores")
    saved = []
    for kind, figure in (
        ("distribution", distribution(title, series)),
        ("over_time", over_time(title, series)),
    ):
        plots.caption(figure, where, source)
        saved.append(plots.save(figure, path.with_name(f"{path.name}_{kind}.png")))
    return saved


Series = dict[str, list[tuple[float, float]]]


def distribution(title: str, series: Series) -> Figure:
    figure, axes = plots.new_figure(f"{title}: share served within a time", "ms", "share of requests, %")
    for name, points in series.items():
        values = sorted(value for _, value in points)
        shares = [100 * (i + 1) / len(values) for i in range(len(values))]
        plots.line(axes, [values[0], *values], [0.0, *shares], name)
        drawn = axes.get_lines()[-1]
        drawn.set(drawstyle="steps-post", marker="")
        # All lines end at the top, so each is named half-way up.
        middle = values[(len(values) - 1) // 2]
        axes.annotate(name, (middle, 50), (9, 4), textcoords="offset points", color=drawn.get_color())
    logarithmic(axes, axes.xaxis, series)
    return figure


def over_time(title: str, series: Series) -> Figure:
    figure, axes = plots.new_figure(f"{title}: latency by time of sending", "s after the start", "ms")
    for name, points in series.items():
        plots.line(axes, [at for at, _ in points], [value for _, value in points], name)
        axes.get_lines()[-1].set(linestyle="", markersize=4.5)
        # `plots.line` counts drawn lines to choose the next colour; ours have none, so say which.
        index = len(axes.get_lines()) - 1
        axes.get_lines()[-1].set(color=plots.COLORS[index], marker=plots.MARKERS[index])
    logarithmic(axes, axes.yaxis, series)
    plots.name_lines(axes)
    return figure


def logarithmic(axes: Axes, axis: Axis, series: Series) -> None:
    """A logarithmic axis, wide enough for all values; `plots.save` writes plain numbers on it."""
    values = [value for points in series.values() for _, value in points]
    low, high = min(values) / 1.3, max(values) * 1.3
    if axis is axes.xaxis:
        axes.set_xscale("log")
        axes.set_xlim(low, high)
    else:
        axes.set_yscale("log")
        axes.set_ylim(low, high)
