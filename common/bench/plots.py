"""One look for all figures, over matplotlib: readable at 700 pixels, colour-blind safe, the same bytes every time.

Lines are named where they end instead of in a legend, and every figure says which machine and which result it shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from common.bench.colours import GREY, PALETTE, ROLES
from common.errors import UserError

__all__ = [
    "COLORS",
    "GREY",
    "MARKERS",
    "bars",
    "caption",
    "line",
    "name_lines",
    "new_figure",
    "powers",
    "save",
]

COLORS = PALETTE
MARKERS = ("o", "s", "^", "D", "v", "P", "X")  # tell lines apart without any colour

_STYLE: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so every machine draws the same
    "font.size": 11,
    "axes.titlesize": 13,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": "#333333",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#E2E2E2",
    "grid.linewidth": 0.8,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "lines.linewidth": 2.2,
    "lines.markersize": 6,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "svg.fonttype": "path",  # looks the same where DejaVu Sans is missing
    "svg.hashsalt": "vitrine",  # ids inside an SVG are random otherwise
}


def new_figure(title: str, xlabel: str = "", ylabel: str = "", height: float = 4.0) -> tuple[Figure, Axes]:
    """A figure 7 inches wide (700 pixels at 100 dpi) with one pair of axes. title: what it shows, as a statement."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(7, height), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        axes.set_title(title)
        axes.set_xlabel(xlabel)
        axes.set_ylabel(ylabel)
        axes.tick_params(length=0)
    return figure, axes


def line(
    axes: Axes,
    x: Sequence[float],
    y: Sequence[float],
    label: str,
    dashed: bool = False,
    role: str | None = None,
) -> None:
    """A line in the next colour and marker. dashed: for what was computed and not measured, e.g. a bound.

    role: one of `colours.ROLES`, for a line about waiting, wasted, computed or reused work.
    """
    index = sum(drawn.get_linestyle() == "-" for drawn in axes.get_lines())
    with mpl.rc_context(_STYLE):
        axes.plot(
            x,
            y,
            label=label,
            color=GREY if dashed else ROLES[role] if role else COLORS[index % len(COLORS)],
            marker="" if dashed else MARKERS[index % len(MARKERS)],
            linestyle="--" if dashed else "-",
        )


def name_lines(axes: Axes, gap: float = 0.065) -> None:
    """Write each line's label at its end, moved apart where ends meet. Call it last, when the scales are final.

    gap: least distance of two names as a share of the axes' height.
    """
    to_axes = axes.transData + axes.transAxes.inverted()
    ends = []
    for drawn in axes.get_lines():
        last = np.asarray(drawn.get_xydata())[-1]
        ends.append((float(to_axes.transform(last)[1]), drawn))
    with mpl.rc_context(_STYLE):
        for place, drawn in _apart(sorted(ends, key=lambda end: end[0]), gap):
            axes.text(
                1.02,
                place,
                str(drawn.get_label()),
                color=drawn.get_color(),
                transform=axes.transAxes,
                va="center",
            )


def _apart(ends: list[tuple[float, Any]], gap: float) -> list[tuple[float, Any]]:
    """Places from low to high with at least `gap` between them, moved as a block around where they were."""
    placed: list[tuple[float, Any]] = []
    for place, item in ends:
        lowest = placed[-1][0] + gap if placed else place
        placed.append((max(place, lowest), item))
    shift = max(0.0, placed[-1][0] - max(1.0, ends[-1][0])) if placed else 0.0
    return [(place - shift, item) for place, item in placed]


def bars(
    axes: Axes,
    names: Sequence[str],
    values: Sequence[float],
    form: str = "{:,.0f}",
    role: str | None = None,
) -> None:
    """Horizontal bars, first on top, each with its value beside it. role: as for a line."""
    with mpl.rc_context(_STYLE):
        drawn = axes.barh(range(len(names)), values, color=ROLES[role] if role else COLORS[0], height=0.62)
        axes.bar_label(drawn, [form.format(value) for value in values], padding=5, color="#333333")
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.grid(visible=False)
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.xaxis.set_major_locator(NullLocator())
        axes.margins(x=0.14)


def powers(axes: Axes, values: Sequence[float], axis: str = "x") -> None:
    """A logarithmic axis with exactly these values as ticks, written out: 64, 128, ..., 1,024."""
    which = axes.xaxis if axis == "x" else axes.yaxis
    (axes.set_xscale if axis == "x" else axes.set_yscale)("log", base=2)
    which.set_major_locator(FixedLocator(list(values)))
    which.set_major_formatter(FuncFormatter(lambda value, position: f"{value:,.10g}"))
    which.set_minor_locator(NullLocator())


def _plain_ticks(axis: Axis) -> None:
    """Numbers on a logarithmic axis are written out, 1, 2, 5, 10, not as powers; ticks that were set explicitly stay."""
    if axis.get_scale() != "log" or not axis.isDefault_majloc:
        return
    low, high = sorted(axis.get_view_interval())
    axis.set_major_locator(LogLocator(subs=(1.0,) if high / low > 1000 else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, position: f"{value:,.10g}"))
    axis.set_minor_locator(NullLocator())


def _fit_title(figure: Figure, axes: Axes) -> None:
    """A title that would leave the figure on its right begins at the figure's edge instead of at the axes'."""
    text = axes.get_title(loc="left")
    if not text:
        return
    figure.draw_without_rendering()  # lays everything out
    width = figure.bbox.width
    drawn = next(
        child for child in axes.get_children() if isinstance(child, Text) and child.get_text() == text
    )
    if drawn.get_window_extent().x1 > 0.99 * width:
        start = float(axes.transAxes.inverted().transform((0.01 * width, 0))[0])
        axes.set_title(text, loc="left", x=start)


def caption(figure: Figure, machine: str, source: str) -> None:
    """The small line below: what it was measured on and which result file it shows, e.g. "s03"."""
    with mpl.rc_context(_STYLE):
        figure.supxlabel(
            f"Measured on {machine}. Source: {source}", x=0.01, ha="left", fontsize=8.5, color=GREY
        )


def save(figure: Figure, path: str | Path) -> Path:
    """Write a .png (1400 pixels wide, sharp at 700) or a .svg; the same figure gives the same bytes.

    Raises UserError for another ending, and for a figure without a caption: a number needs its source.
    """
    path = Path(path)
    metadata: dict[str, dict[str, Any]] = {
        ".png": {"Software": None},
        ".svg": {"Date": None, "Creator": None},
    }
    if path.suffix not in metadata:
        raise UserError(f"figure {path.name!r}: must end in {' or '.join(metadata)}")
    if not figure.get_supxlabel():
        raise UserError(f"figure {path.name!r}: call caption(figure, machine, source) first")
    path.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(_STYLE):
        for axes in figure.axes:
            for axis in (axes.xaxis, axes.yaxis):
                _plain_ticks(axis)
            _fit_title(figure, axes)
        figure.savefig(path, dpi=200, metadata=metadata[path.suffix])
    return path
