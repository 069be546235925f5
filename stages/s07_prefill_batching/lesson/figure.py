"""The figures of this stage, from a recorded result: throughput under its roof, and what the rectangle wastes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from common.bench.measure import load_result
from common.bench.plots import caption, line, name_lines, new_figure, powers, save
from common.bench.results import ROOT

FIGURES = ROOT / "articles" / "figures"


def draw(name: str, machine: str = "cpu", folder: Path = FIGURES) -> list[Path]:
    """<name>-roofline.svg and <name>-padding.svg from results/<machine>/<name>.json. Raises UserError."""
    result = load_result(name, machine)
    folder.mkdir(parents=True, exist_ok=True)
    return [roofline(result, folder), padding(result, folder)]


def roofline(result: dict[str, Any], folder: Path) -> Path:
    rows = counts(result, "decode_tokens_per_s")
    figure, axes = new_figure(
        "The weights are read once for the whole batch", "requests in the batch", "tokens per second"
    )
    line(axes, rows, values(result, "decode_tokens_per_s", rows), "decode")
    line(axes, rows, values(result, "memory_bound", rows), "reading allows", dashed=True)
    line(axes, rows, values(result, "arithmetic_bound", rows), "arithmetic allows", dashed=True)
    powers(axes, rows)
    axes.set_yscale("log")
    name_lines(axes)
    return finish(figure, result, folder / f"{result['name']}-roofline.svg")


def padding(result: dict[str, Any], folder: Path) -> Path:
    rows = counts(result, "padding_share")
    figure, axes = new_figure(
        "The larger the rectangle, the more of it is empty",
        "requests in the batch",
        "% wasted on padding",
    )
    line(axes, rows, values(result, "mixed_padding_share", rows), "mixed limits", role="wasted")
    line(axes, rows, values(result, "padding_share", rows), "equal limits", role="wasted")
    powers(axes, rows)
    axes.set_ylim(0)
    name_lines(axes)
    return finish(figure, result, folder / f"{result['name']}-padding.svg")


def finish(figure: Any, result: dict[str, Any], path: Path) -> Path:
    workload = result["workload"]
    caption(
        figure,
        f"{result['machine']['cpu']}, {workload['threads']} threads, {workload['model']}",
        result["name"],
    )
    return save(figure, path)


def counts(result: dict[str, Any], key: str) -> list[int]:
    return sorted(int(found[1]) for k in result["values"] if (found := re.fullmatch(rf"{key}_(\d+)", k)))


def values(result: dict[str, Any], key: str, rows: list[int]) -> list[float]:
    return [float(result["values"][f"{key}_{n}"]["value"]) for n in rows]
