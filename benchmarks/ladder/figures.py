"""Figures of result files: the ladder, throughput under its bound, latency by crowd, memory by context.

Draws what is recorded and measures nothing. Needs matplotlib, which a GPU machine may lack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from common.bench.machine import ROOT, gpu_folder
from common.bench.plots import caption, save
from common.bench.results import load_result
from common.errors import UserError

from . import draw_batch, draw_ladder, draw_memory

__all__ = ["FIGURES", "draw_all"]

FIGURES = ROOT / "articles" / "figures"
_KINDS: dict[str, dict[str, Callable[[Mapping[str, Any]], Figure]]] = {
    "ladder": {"ladder": draw_ladder.ladder},
    "batch": {"batch": draw_batch.throughput, "latency-over-concurrency": draw_batch.latency},
    "memory": {"memory-over-context": draw_memory.memory},
}


def draw_all(results: Path, into: Path, names: Sequence[str] = (), ending: str = ".svg") -> Iterator[Path]:
    """Draws every result of `benchmarks.run` in a folder, or those named. Raises UserError where there is none."""
    found = [path for path in sorted(results.glob("*.json")) if path.stem.partition("-")[0] in _KINDS]
    if not names and not found:
        raise UserError(f"nothing to draw in {results}: make bench records a result first")
    for path in found:
        if names and path.stem not in names:
            continue
        result = load_result(path.stem, folder=results)
        gpu = result["machine"].get("gpu")
        machine = gpu_folder(gpu) if gpu else ""
        for name, draw in _KINDS[result["workload"]["study"]].items():
            figure = draw(result)
            w = result["workload"]
            caption(figure, f"{hardware(result)}, {w['model']} in {w['dtype']}", result["name"])
            yield save(figure, into / f"{file_name(name, path.stem, machine)}{ending}")


def hardware(result: Mapping[str, Any]) -> str:
    machine, threads = result["machine"], result["workload"]["threads"]
    return str(machine.get("gpu") or f"{machine['cpu']}, {threads} thread{'s' if threads > 1 else ''}")


def file_name(figure: str, result: str, machine: str) -> str:
    """ladder, batch-storyteller, latency-over-concurrency; other models and machines are named in it."""
    _, _, model = result.partition("-")
    if figure == "batch":
        model = model or "storyteller"
    elif model == "storyteller":
        model = ""
    return "-".join(filter(None, (figure, model, machine)))
