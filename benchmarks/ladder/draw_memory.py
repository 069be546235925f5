"""Memory by length of text: weights and K/V as the shapes say, and what a stage was seen to take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from common.bench.plots import line, name_lines, new_figure, powers
from common.tutorial.texts.ladder import rows_of

from .screen import own

__all__ = ["memory"]


def memory(result: Mapping[str, Any]) -> Figure:
    """Megabytes at the peak, without what the process had before it had weights."""
    w, values = result["workload"], result["values"]
    contexts = w["contexts"]
    title = f"What {w['crowd']} requests keep in memory"
    figure, axes = new_figure(title, "tokens of each request", "MB")
    for row in rows_of(result):
        points = [(n, bytes_ / 1e6) for n in contexts if (bytes_ := own(row, n)) is not None]
        if points:
            label = f"stage {row.label}, measured" if row.is_stage else f"{row.label}, measured"
            line(axes, [x for x, _ in points], [y for _, y in points], label)
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
