"""Nine ways to choose the next token, by name, with the parameters that servers of this kind take."""

from __future__ import annotations

from typing import Any

from ..engine import SamplingParams

PRESETS: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0.0},
    "cold": {"temperature": 0.5},
    "plain": {"temperature": 1.0},
    "hot": {"temperature": 1.6},
    "top-k": {"temperature": 1.0, "top_k": 20},
    "top-p": {"temperature": 1.0, "top_p": 0.8},
    "min-p": {"temperature": 1.3, "min_p": 0.1},
    "mixed": {"temperature": 0.8, "top_k": 50, "top_p": 0.9, "min_p": 0.02},
    "no repeats": {
        "temperature": 0.8, "top_p": 0.9, "repetition_penalty": 1.15, "presence_penalty": 0.3, "frequency_penalty": 0.3,
    },
}  # fmt: skip
COLUMNS = {
    "temperature": "T", "top_k": "top-k", "top_p": "top-p", "min_p": "min-p", "repetition_penalty": "repetition",
    "presence_penalty": "presence", "frequency_penalty": "frequency",
}  # fmt: skip


def settings(params: SamplingParams) -> list[str]:
    """The values of COLUMNS, with a dash for each default."""
    neutral = SamplingParams()
    shown = []
    for name in COLUMNS:
        value = getattr(params, name)
        shown.append(f"{value:g}" if name == "temperature" or value != getattr(neutral, name) else "-")
    return shown
