"""How runs are shown: one line of small bars per run, and one step's candidates as truncation cuts them down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text as Styled
from torch import Tensor

from common.terminal.console import bar, make_table, piece
from common.tokenizer import Tokenizer

from ..engine import SamplingParams
from .distribution import distribution, draw_after

BARS = "▁▂▃▄▅▆▇█"
BAR = 11  # columns of the longest bar: both fit a narrow terminal, with five steps between them


def sparkline(values: Sequence[float], highest: float, width: int = 40) -> str:
    """A bar for each value between 0 and `highest`; of more than `width` values, for the mean of neighbours."""
    size = -(-len(values) // width)
    groups = [values[i : i + size] for i in range(0, len(values), size)]
    shares = [sum(group) / len(group) / highest if highest > 0 else 0.0 for group in groups]
    return "".join(BARS[round((len(BARS) - 1) * min(max(share, 0.0), 1.0))] for share in shares)


def steps(params: SamplingParams) -> list[tuple[str, SamplingParams]]:
    """The steps of a truncation, one after the other, each with those before it."""
    shared: dict[str, Any] = {"temperature": params.temperature or 1.0}
    found = [("model", SamplingParams(temperature=1.0))]
    if shared["temperature"] != 1:
        found.append((f"T {shared['temperature']:g}", SamplingParams(**shared)))
    so_far = dict(shared)
    for name, label, neutral in (("top_k", "top-k", 0), ("top_p", "top-p", 1.0), ("min_p", "min-p", 0.0)):
        value = getattr(params, name)
        if value != neutral:
            so_far[name] = value
            found.append((f"{label} {value:g}", SamplingParams(**so_far)))
    return found


def cascade(logits: Tensor, params: SamplingParams, tokenizer: Tokenizer, count: int = 14) -> Table:
    """The likeliest tokens of one step: a column for each step of the truncation, a bar before it and one after.

    logits: [vocab], of the model.
    """
    columns = [(label, distribution(logits, draw_after(one))) for label, one in steps(params)]
    first, last = columns[0][1], columns[-1][1]
    highest = float(max(first.max(), last.max()))
    rows: list[list[object]] = []
    for token in first.topk(min(count, len(first))).indices.tolist():
        before, after = float(first[token]), float(last[token])
        rows.append([
            Styled(piece(tokenizer.decode([token], skip_special=False)), style="" if after else "bright_black"),
            Styled(bar(before / highest, BAR), style="bright_black"),
            *(f"{100 * float(chances[token]):.1f}" if chances[token] > 0 else "-" for _, chances in columns),
            Styled(bar(after / highest, BAR), style="cyan"),
        ])  # fmt: skip
    left = [f"{int((chances > 0).sum()):,}" for _, chances in columns]
    rows.append([Styled("tokens left", style="bold"), "", *left, ""])
    return make_table(["token", "before", *(f"{label}" for label, _ in columns), "after"], rows)
