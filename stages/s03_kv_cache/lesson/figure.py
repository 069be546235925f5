"""The figure of this stage: the time a text takes by its length, with and without a cache, from a recorded result."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from common.bench.measure import load_result
from common.bench.plots import caption, line, name_lines, new_figure, save
from common.bench.results import ROOT

FIGURES = ROOT / "articles" / "figures"


def draw(name: str, machine: str = "cpu", folder: Path = FIGURES) -> list[Path]:
    """articles/figures/<name>-total-time.svg from results/<machine>/<name>.json; its path, alone. Raises UserError."""
    result = load_result(name, machine)
    lengths = sorted(int(found[1]) for key in result["values"] if (found := re.fullmatch(r"with_(\d+)", key)))
    figure, axes = new_figure(
        "Without a cache, the time grows faster than the length", "tokens in total", "seconds"
    )
    for side, label in (("without", "without"), ("with", "with cache"), ("transformers", "transformers")):
        line(axes, lengths, [seconds(result, side, n) for n in lengths], label)
    last = lengths[-1]
    square = [seconds(result, "without", last) * (n / last) ** 2 for n in lengths]
    line(axes, lengths, square, "n²", dashed=True)
    axes.set_xlim(0, last * 1.02)
    axes.set_ylim(0)
    name_lines(axes)
    caption(figure, f"{result['machine']['cpu']}, {result['workload']['threads']} threads", name)
    folder.mkdir(parents=True, exist_ok=True)
    return [save(figure, folder / f"{name}-total-time.svg")]


def seconds(result: dict[str, Any], side: str, length: int) -> float:
    return float(result["values"][f"{side}_{length}"]["value"])
