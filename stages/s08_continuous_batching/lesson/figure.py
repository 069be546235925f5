"""The figure of this stage, from a recorded result: how long the readers wait for a token, by side and by how prompts run."""

from __future__ import annotations

from pathlib import Path

from common.bench.measure import load_result
from common.bench.plots import bars, caption, new_figure, save
from common.bench.results import ROOT

FIGURES = ROOT / "articles" / "figures"
NAMES = {
    "before_ttft_ms": "first token, stage 07, median",
    "after_ttft_ms": "first token, stage 08, median",
    "before_ttft_p99_ms": "first token, stage 07, P99",
    "after_ttft_p99_ms": "first token, stage 08, P99",
    "whole_itl_p99_ms": "next token, long prompts whole, P99",
    "chunked_itl_p99_ms": "next token, long prompts in chunks, P99",
}


def draw(name: str, machine: str = "cpu", folder: Path = FIGURES) -> list[Path]:
    """<name>-waits.svg from results/<machine>/<name>.json. Raises UserError."""
    result = load_result(name, machine)
    figure, axes = new_figure("Joining at the next step means no wait for a batch to finish", "ms")
    bars(axes, list(NAMES.values()), [float(result["values"][key]["value"]) for key in NAMES], role="waiting")
    workload = result["workload"]
    caption(
        figure,
        f"{result['machine']['cpu']}, {workload['threads']} threads, {workload['model']}",
        result["name"],
    )
    folder.mkdir(parents=True, exist_ok=True)
    return [save(figure, folder / f"{result['name']}-waits.svg")]
