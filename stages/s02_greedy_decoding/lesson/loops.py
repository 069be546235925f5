"""Finds the loop that greedy decoding falls into, and marks it.

The likeliest continuation of "the king said, ... the king said," is the same once more, and each round makes the
next one likelier. Nothing in the token loop ever leads out again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.text import Text

from common.terminal.console import printable

LEAST = 12  # tokens; a shorter repetition ("very, very, very") may be intended
ROUNDS = ("bold cyan", "bold magenta")


@dataclass(frozen=True, slots=True)
class Loop:
    """A text that ends in repetition: from token `start` on, the same `period` tokens again and again."""

    start: int
    period: int
    length: int  # tokens from `start` to the end of the text

    @property
    def times(self) -> float:
        return self.length / self.period


def find_loop(tokens: Sequence[int], least: int = LEAST) -> Loop | None:
    """The loop that `tokens` end in: the shortest period that occurs at least twice, over at least `least` tokens."""
    for period in range(1, len(tokens) // 2 + 1):
        same = 0  # tokens at the end that are equal to the one a period before
        while same < len(tokens) - period and tokens[-1 - same] == tokens[-1 - same - period]:
            same += 1
        length = same + period
        if length >= max(2 * period, least):
            return Loop(len(tokens) - length, period, length)
    return None


def marked(prompt: str, texts: Sequence[str], loop: Loop | None) -> Text:
    """The text with each round of the loop in another colour, and a sign before every repetition.

    texts: what each token added.
    """
    shown = Text(printable(prompt), style="bright_black")
    for i, text in enumerate(texts):
        since = i - loop.start if loop else -1
        if loop is None or since < 0:
            shown.append(printable(text))
            continue
        if since and since % loop.period == 0:
            shown.append("⟲", style="bold yellow")
        shown.append(printable(text), style=ROUNDS[since // loop.period % 2])
    return shown
