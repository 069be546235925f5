"""The figures of this stage, from a recorded result: cost by vocabulary, and the share of a decode step."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from common.bench.measure import load_result
from common.bench.plots import bars, caption, line, name_lines, new_figure, powers, save
from common.bench.results import ROOT

from .work import LABELS

FIGURES = ROOT / "articles" / "figures"
LINES = {
    "transformers": "transformers", "full": "k, p, min-p", "temperature": "temperature", "greedy": "greedy",
}  # fmt: skip


def draw(name: str, machine: str = "cpu", folder: Path = FIGURES) -> list[Path]:
    """articles/figures/<name>-cost.svg and, for each model, <name>-share-<model>.svg. Raises UserError."""
    result = load_result(name, machine)
    folder.mkdir(parents=True, exist_ok=True)
    models = [found[1] for key in result["values"] if (found := re.fullmatch(r"step_(\w+)", key))]
    return [cost(name, result, folder), *(share(name, result, model, folder) for model in models)]


def cost(name: str, result: dict[str, Any], folder: Path) -> Path:
    """Microseconds of a draw over the size of the vocabulary, both logarithmic."""
    sizes = sorted(int(found[1]) for key in result["values"] if (found := re.fullmatch(r"greedy_(\d+)", key)))
    figure, axes = new_figure(
        "Sorting the vocabulary is most of a truncated draw", "tokens in the vocabulary", "µs per draw"
    )
    for way, label in LINES.items():
        if f"{way}_{sizes[0]}" in result["values"]:
            line(axes, sizes, [value(result, f"{way}_{size}") for size in sizes], label)
    powers(axes, sizes)
    axes.set_yscale("log")
    name_lines(axes)
    return finish(figure, result, name, folder / f"{name}-cost.svg")


def share(name: str, result: dict[str, Any], model: str, folder: Path) -> Path:
    """What each way to draw adds to a decode step of a model."""
    ways = [way for way in LABELS if f"share_{way}_{model}" in result["values"]]
    step = value(result, f"step_{model}")
    figure, axes = new_figure(f"What a draw adds to a decode step of {step:.1f} ms, in percent", height=3.6)
    bars(
        axes,
        [LABELS[way] for way in ways],
        [value(result, f"share_{way}_{model}") for way in ways],
        "{:.1f} %",
    )
    return finish(figure, result, f"{name}, {model}", folder / f"{name}-share-{model.replace('_', '-')}.svg")


def finish(figure: Any, result: dict[str, Any], source: str, path: Path) -> Path:
    hardware = result["machine"].get("gpu") or result["machine"]["cpu"]
    caption(figure, f"{hardware}, {result['workload']['threads']} threads", source)
    return save(figure, path)


def value(result: dict[str, Any], key: str) -> float:
    return float(result["values"][key]["value"])
