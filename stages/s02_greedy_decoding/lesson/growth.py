"""What a token costs as the text grows: a line of bars, and the first tokens compared with the last."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from rich.text import Text

from common.bench.timing import median
from common.terminal.console import note, show, table, warn

from .outcome import Outcome

BARS = "▁▂▃▄▅▆▇█"


def sparkline(seconds: Sequence[float], width: int = 50) -> str:
    """Times as bars, from 0 to the longest. If there are more than `width`, a bar is the median of several."""
    columns = min(width, len(seconds))
    edges = [i * len(seconds) // columns for i in range(columns + 1)]
    heights = [median(seconds[a:b]) for a, b in pairwise(edges)]
    return "".join(BARS[min(int(len(BARS) * height / max(heights)), len(BARS) - 1)] for height in heights)


def rows_run(prompt_tokens: int, new_tokens: int) -> int:
    """Tokens that went through the model to add `new_tokens`: the whole text each time."""
    return sum(range(prompt_tokens, prompt_tokens + new_tokens))


def show_growth(ours: Outcome, prompt_tokens: int) -> None:
    """Shows how much longer the last tokens took than the first."""
    seconds, n = ours.seconds, len(ours.seconds)
    some = min(10, n // 2)
    if not some:
        return warn("one token is too few to see growth")
    rows = []
    for name, first in (("first", 0), ("last", n - some)):
        length = f"{prompt_tokens + first} to {prompt_tokens + first + some - 1}"
        rows.append([f"{name} {some} tokens", length, f"{1000 * median(seconds[first : first + some]):.1f}"])
    table(None, ["", "tokens through the model, each", "ms per token (median)"], rows)
    show(Text(sparkline(seconds), style="cyan"))
    return note(
        f"To add {n} tokens, {rows_run(prompt_tokens, n):,} went through the model: the whole text, for each of them. "
        f"All but {prompt_tokens + n - 1} had been through it before, with the same result. Stage 03 keeps it."
    )
