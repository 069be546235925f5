"""Figures of result files: the ladder, throughput under its bound, latency by number of requests, memory by context.

Draws what is recorded and measures nothing. Needs matplotlib, which a GPU machine may lack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from common.bench.machine import ROOT, gpu_folder
from common.bench.plots import COLORS, GREY, MARKERS, caption, line, name_lines, new_figure, powers, save
from common.bench.results import load_result
from common.errors import UserError
from common.tutorial.texts.ladder import Row, number, rows_of

from .screen import own

__all__ = ["FIGURES", "draw_all"]

FIGURES = ROOT / "articles" / "figures"
Result = Mapping[str, Any]  # as its file holds it


def ladder(result: Result) -> Figure:
    """Tokens a second on a logarithmic axis: equal steps are equal factors."""
    rows = [
        row
        for row in rows_of(result)
        if row.values.get("crowd_tokens_per_s") or row.values.get("decode_tokens_per_s")
    ]
    crowd = result["workload"]["crowd"]
    figure, axes = new_figure("What each stage bought", "tokens per second", height=1.7 + 0.34 * len(rows))
    for at, row in enumerate(rows):
        alone, many = (row.values.get(name) for name in ("decode_tokens_per_s", "crowd_tokens_per_s"))
        there = [value for value in (alone, many) if value]
        axes.plot([min(there), max(there)], [at, at], color="#D8D8D8", linewidth=2.2, zorder=1)
        for value, color, marker in ((alone, COLORS[0], MARKERS[0]), (many, COLORS[1], MARKERS[1])):
            if value:
                axes.plot([value], [at], color=color, marker=marker, markersize=8, zorder=2)
                left = value == min(there) and len(there) > 1
                axes.annotate(number(value), (value, at), xytext=(-9 if left else 9, 0), textcoords="offset points",
                              ha="right" if left else "left", va="center", fontsize=9, color="#333333")  # fmt: skip
    axes.set_yticks(range(len(rows)), [name_of(row) for row in rows])
    for label, row in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_color("#333333" if row.is_stage else GREY)
    axes.set_xscale("log")
    axes.margins(x=0.16)
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.grid(visible=True, axis="x")
    axes.spines[["left"]].set_visible(False)
    axes.plot([], [], color=COLORS[0], marker=MARKERS[0], linestyle="", label="one request, decode")
    axes.plot(
        [],
        [],
        color=COLORS[1],
        marker=MARKERS[1],
        linestyle="",
        label=f"{crowd} requests at once, prefill included",
    )
    # Padded, so that the legend has room below it.
    axes.set_title(axes.get_title(loc="left"), loc="left", pad=30, fontsize=13, fontweight="bold")
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2, frameon=False, fontsize=9.5, handletextpad=0.2
    )
    return figure


def name_of(row: Row) -> str:
    return f"{row.label}  {row.title}" if row.is_stage else row.label


def throughput(result: Result) -> Figure:
    """Sides as lines, the roof above them dashed: reading up to where arithmetic takes over."""
    sizes, values = result["workload"]["batches"], result["values"]
    figure, axes = new_figure(
        "The weights are read once for all", "requests at once", "tokens per second", height=4.6
    )
    _lines(axes, sizes, rows_of(result), of_batch("tokens_per_s"))
    reading = [values[f"bound_batch_{n}_tokens_per_s"]["value"] for n in sizes]
    arithmetic = values["arithmetic_tokens_per_s"]["value"]
    line(axes, sizes, [min(one, arithmetic) for one in reading], "machine allows", dashed=True)
    powers(axes, sizes)
    axes.set_yscale("log")
    name_lines(axes)
    return figure


def of_batch(name: str) -> Callable[[Row, int], float | None]:
    return lambda row, n: row.values.get(f"batch_{n}_{name}")


def latency(result: Result) -> Figure:
    """TTFT and ITL by number of requests, one above the other."""
    sizes, rows = result["workload"]["batches"], rows_of(result)
    figure, first = new_figure(
        "What concurrent requests cost each other", "", "first token, ms (P50)", height=6.2
    )
    grid = figure.add_gridspec(2, 1)
    first.set_subplotspec(grid[0])
    second = figure.add_subplot(grid[1], sharex=first)
    _dress(second)
    second.set_ylabel("next token, ms (P50)")
    second.set_xlabel("requests at once")
    for axes, name in ((first, "ttft_p50_ms"), (second, "itl_p50_ms")):
        _lines(axes, sizes, rows, of_batch(name))
        powers(axes, sizes)
    first.set_yscale("log")
    first.yaxis.set_major_formatter(FuncFormatter(lambda value, position: f"{value:,.10g}"))
    second.set_ylim(bottom=0)
    for axes in (first, second):
        name_lines(axes, gap=0.09)
    return figure


def _lines(axes: Axes, xs: Sequence[int], rows: Sequence[Row], value: Callable[[Row, int], float | None],
           suffix: str = "") -> None:  # fmt: skip
    """A line for each side, through the points that it has."""
    for row in rows:
        points = [(x, y) for x in xs if (y := value(row, x)) is not None]
        if points:
            label = (f"stage {row.label}" if row.is_stage else row.label) + suffix
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


def megabytes(count: float | None) -> float | None:
    return None if count is None else count / 1e6


def memory(result: Result) -> Figure:
    """Megabytes at the peak, without what the process had before it had weights."""
    w, values = result["workload"], result["values"]
    contexts = w["contexts"]
    title = f"What {w['crowd']} requests keep in memory"
    figure, axes = new_figure(title, "tokens of each request", "MB")
    _lines(axes, contexts, rows_of(result), lambda row, n: megabytes(own(row, n)), ", measured")
    computed = [values[f"computed_context_{n}_bytes"]["value"] / 1e6 for n in contexts]
    line(axes, contexts, computed, "weights + K/V, computed", dashed=True)
    line(
        axes,
        contexts,
        [values["weights_bytes"]["value"] / 1e6] * len(contexts),
        "weights, computed",
        dashed=True,
    )
    powers(axes, contexts)
    axes.set_ylim(bottom=0)
    name_lines(axes)
    return figure


_KINDS: dict[str, dict[str, Callable[[Result], Figure]]] = {
    "ladder": {"ladder": ladder},
    "batch": {"batch": throughput, "latency-over-concurrency": latency},
    "memory": {"memory-over-context": memory},
}


def draw_all(results: Path, into: Path, names: Sequence[str] = (), ending: str = ".svg") -> Iterator[Path]:
    """Draws every result of `benchmarks.run` in a folder, or those named. Raises UserError where there is none."""
    found = [path for path in sorted(results.glob("*.json")) if path.stem.partition("-")[0] in _KINDS]
    if not names and not found:
        raise UserError(f"nothing to draw in {results}: make bench records a result first")
    for path in found:
        if names and path.stem not in names:
            continue
        result = load_result(path.stem, folder=results)
        gpu = result["machine"].get("gpu")
        machine = gpu_folder(gpu) if gpu else ""
        for name, draw in _KINDS[result["workload"]["study"]].items():
            figure = draw(result)
            w = result["workload"]
            caption(figure, f"{hardware(result)}, {w['model']} in {w['dtype']}", result["name"])
            yield save(figure, into / f"{file_name(name, path.stem, machine)}{ending}")


def hardware(result: Result) -> str:
    machine, threads = result["machine"], result["workload"]["threads"]
    return str(machine.get("gpu") or f"{machine['cpu']}, {threads} thread{'s' if threads > 1 else ''}")


def file_name(figure: str, result: str, machine: str) -> str:
    """ladder, batch-storyteller, latency-over-concurrency; other models and machines are named in it."""
    _, _, model = result.partition("-")
    if figure == "batch":
        model = model or "storyteller"
    elif model == "storyteller":
        model = ""
    return "-".join(filter(None, (figure, model, machine)))
