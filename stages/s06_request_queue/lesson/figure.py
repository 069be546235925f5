"""The figure of this stage: mean wait over load, measured and as theory has it, from a recorded result."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from common.bench.measure import load_result
from common.bench.plots import caption, line, name_lines, new_figure, save
from common.bench.results import ROOT

from .arrivals import m_d_1

FIGURES = ROOT / "articles" / "figures"


def draw(name: str, machine: str = "cpu", folder: Path = FIGURES) -> list[Path]:
    """articles/figures/<name>-wait-over-load.svg from results/<machine>/<name>.json; its path, alone. Raises UserError."""
    result = load_result(name, machine)
    labels = [int(found[1]) for key in result["values"] if (found := re.fullmatch(r"load_(\d+)", key))]
    labels.sort(key=lambda n: value(result, f"load_{n}"))
    figure, axes = new_figure(
        "A busy engine makes everybody wait", "load: % of the time that the engine is busy", "service times"
    )
    loads = [value(result, f"load_{n}") for n in labels]
    waits = [value(result, f"wait_x_{n}") for n in labels]
    services = [value(result, f"service_ms_{n}") for n in labels]
    p95 = [result["values"][f"wait_ms_{n}"]["p95"] / s for n, s in zip(labels, services, strict=True)]
    line(axes, loads, waits, "mean wait", role="waiting")
    line(axes, loads, p95, "P95 of the waits", role="waiting")
    top = max(*loads, 92.0)
    curve = [x / 4 for x in range(int(4 * min(top, 96)) + 1)]
    line(axes, curve, [m_d_1(x / 100) for x in curve], "M/D/1, mean", dashed=True)
    axes.set_xlim(0, max(100.0, top * 1.02))
    axes.set_ylim(0)
    name_lines(axes)
    workload = result["workload"]
    caption(figure, f"{result['machine']['cpu']}, {workload['threads']} threads, {workload['model']}", name)
    folder.mkdir(parents=True, exist_ok=True)
    return [save(figure, folder / f"{name}-wait-over-load.svg")]


def value(result: dict[str, Any], key: str) -> float:
    return float(result["values"][key]["value"])
