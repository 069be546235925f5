"""The figures of this stage, from a recorded result: memory and time of one layer by the length of the prompt."""

from __future__ import annotations

from pathlib import Path

from common.bench.measure import load_result
from common.bench.plots import caption, line, name_lines, new_figure, powers, save
from common.bench.results import ROOT

FIGURES = ROOT / "articles" / "figures"
SHOWN = {"eager": "all scores (eager)", "tiled": "tiles, in plain torch", "sdpa": "torch's kernel (sdpa)"}
PICTURES = {
    "mb": ("memory", "Memory: only the eager way grows with the square", "MB"),
    "ms": ("time", "Time grows with the square in every way", "ms"),
}


def draw(name: str, machine: str = "cpu", folder: Path = FIGURES) -> list[Path]:
    """articles/figures/<name>-memory.svg and -time.svg from results/<machine>/<name>.json. Raises UserError."""
    result = load_result(name, machine)
    values, lengths = result["values"], result["workload"]["lengths"]
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for unit, (short, title, axis) in PICTURES.items():
        figure, axes = new_figure(title, "tokens in the prompt", f"{axis}, one layer")
        for way, label in SHOWN.items():
            found = [
                (n, values[f"{way}_{n}_{unit}"]["value"]) for n in lengths if f"{way}_{n}_{unit}" in values
            ]
            if found:
                line(axes, [n for n, _ in found], [max(value, 0.01) for _, value in found], label)
        axes.set_xscale("log")
        axes.set_yscale("log")
        powers(axes, lengths)
        name_lines(axes)
        caption(figure, f"{result['machine']['cpu']}, {result['workload']['threads']} threads", name)
        paths.append(save(figure, folder / f"{name}-{short}.svg"))
    return paths
