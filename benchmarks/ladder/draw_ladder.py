"""The ladder as a picture: a row for each stage and peer, a dot for one request and one for a crowd."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from common.bench.plots import COLORS, GREY, MARKERS, new_figure
from common.tutorial.texts.ladder import Row, number, rows_of

__all__ = ["ladder"]


def ladder(result: Mapping[str, Any]) -> Figure:
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
