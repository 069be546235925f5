"""The figure of this stage: how much of an answer its reader has over time, streamed and whole, from a recorded result."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from common.bench.measure import load_result
from common.bench.plots import caption, line, name_lines, new_figure, save
from common.bench.results import ROOT

FIGURES = ROOT / "articles" / "figures"


def draw(name: str, machine: str = "cpu", folder: Path = FIGURES) -> list[Path]:
    """articles/figures/<name>-what-the-reader-has.svg from results/<machine>/<name>.json; its path, alone. Raises UserError."""
    result = load_result(name, machine)
    counts = sorted(
        int(found[1]) for key in result["values"] if (found := re.fullmatch(r"stream_at_(\d+)", key))
    )
    figure, axes = new_figure(
        "The reader of a stream need not wait for its end", "ms since the request", "tokens"
    )
    for side, label in (("loop", "bare loop"), ("stream", "streamed")):
        line(axes, [0.0, *(value(result, f"{side}_at_{n}") for n in counts)], [0, *counts], label)
    whole = value(result, "whole_ms")
    line(axes, [0.0, whole, whole], [0, 0, counts[-1]], "not streamed")
    axes.set_xlim(0)
    axes.set_ylim(0, counts[-1] * 1.05)
    name_lines(axes)
    workload = result["workload"]
    caption(figure, f"{result['machine']['cpu']}, {workload['threads']} threads, {workload['model']}", name)
    folder.mkdir(parents=True, exist_ok=True)
    return [save(figure, folder / f"{name}-what-the-reader-has.svg")]


def value(result: dict[str, Any], key: str) -> float:
    return float(result["values"][key]["value"])
