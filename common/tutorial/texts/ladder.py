"""The ladder as rows: what each stage reached, and by how much more than the stage before it.

Read from a result of `benchmarks.run`, for the screen, for the figure and for README's table. Measures nothing and
imports no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.bench.results import load_result
from common.errors import UserError
from common.tutorial.chain import ROOT
from common.tutorial.texts.articles.tables import markdown

__all__ = ["Row", "gains", "number", "readme_table", "rows_of", "times"]

COMMAND = "make bench"


@dataclass(frozen=True, slots=True)
class Row:
    """One side of a ladder."""

    key: str  # as in the result's keys: "s08", "llama_cpp"
    label: str  # "08", or the peer's name
    title: str  # a stage's; "" for a peer
    values: dict[str, float] = field(default_factory=dict)  # "decode_tokens_per_s": 212.0
    problem: str = ""  # why it has no numbers

    @property
    def is_stage(self) -> bool:
        return bool(self.title)


def rows_of(result: Mapping[str, Any]) -> list[Row]:
    """Stages in their order, then peers."""
    workload, rows = result["workload"], []
    keys = [side["key"] for side in workload["sides"]]
    for side in workload["sides"]:
        prefix = f"{side['key']}_"
        # "transformers_" is also the beginning of "transformers_static_...".
        longer = tuple(f"{other}_" for other in keys if other.startswith(prefix))
        values = {
            name.removeprefix(prefix): float(entry["value"])
            for name, entry in result["values"].items()
            if name.startswith(prefix) and not name.startswith(longer)
        }
        rows.append(Row(side["key"], side["label"], side["title"], values, side.get("problem", "")))
    return rows


def gains(rows: Sequence[Row], name: str) -> dict[str, float]:
    """key -> how many times the value of the last stage before it that has one. Peers and the first have none."""
    found: dict[str, float] = {}
    before: float | None = None
    for row in rows:
        value = row.values.get(name)
        if not row.is_stage or not value:
            continue
        if before:
            found[row.key] = value / before
        before = value
    return found


def number(value: float | None, missing: str = "-") -> str:
    """1,234 or 45.6 or 0.78: three digits, and all of them before the point."""
    if value is None:
        return missing
    if abs(value) >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 9.995 else f"{value:.2f}"


def times(gain: float | None) -> str:
    """ "3.1x"; what is within a twentieth of no change is "=": it may be noise."""
    if gain is None:
        return ""
    return "=" if abs(gain - 1) < 0.05 else f"{gain:.1f}x" if gain < 99.5 else f"{gain:.0f}x"


def readme_table(root: Path = ROOT, name: str = "ladder", machine: str = "cpu") -> list[str]:
    """The lines of README's block: where it comes from, then the table. One cell where nothing is recorded."""
    path = root / "benchmarks" / "results" / machine / f"{name}.json"
    if not path.is_file():
        return markdown(["the ladder"], [[f"not recorded yet; `{COMMAND}` measures it"]])
    try:
        result = load_result(name, machine, path.parent)
        rows = rows_of(result)
    except KeyError as error:
        raise UserError(f"{path.name}: {error.args[0]!r} is missing; {COMMAND} records it again") from None
    workload = result["workload"]
    hardware = result["machine"].get("gpu") or result["machine"].get("cpu") or machine
    shown = path.relative_to(root).as_posix()
    about = f"{workload['model']} in {workload['dtype']}, {workload['prompt_tokens']} tokens in and {workload['new_tokens']} out"
    place = f"[`{shown}`]({shown}) · {hardware}, {workload['threads']} threads · {about}"
    return [place, "", *_table(rows, int(workload["crowd"]))]


def _table(rows: Sequence[Row], crowd: int) -> list[str]:
    alone, many = "decode_tokens_per_s", "crowd_tokens_per_s"
    gained = {name: gains(rows, name) for name in (alone, many)}
    heads = ["", "", "one request: tokens/s", "stage before", f"{crowd} at once: tokens/s", "stage before",
             "first token, ms", "peak memory, MB"]  # fmt: skip
    lines = []
    for row in rows:
        value = row.values.get
        speed = [
            cell for name in (alone, many) for cell in (number(value(name)), times(gained[name].get(row.key)))
        ]
        peak = value("peak_bytes")
        more = [number(value("ttft_ms")), number(peak / 1e6 if peak else None)]
        label, title = (row.label, row.title) if row.is_stage else ("", row.label)
        lines.append([label, title + (f" ({row.problem})" if row.problem else ""), *speed, *more])
    return markdown(heads, lines, set(range(2, len(heads))))
