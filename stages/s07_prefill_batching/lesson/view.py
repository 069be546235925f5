"""How the demo draws a batch: the rectangle of the prompts, the rows needed in each step, and the texts as they grow."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from common.bench.colours import ROLES
from common.terminal.console import console, last_words, make_table

from ..engine import Request
from .recorder import Step

REAL, PADDING = "■", "░"
BESIDE = 36  # columns of the table beside the texts


def rectangle(prompts: Sequence[int], width: int) -> Text:
    """One line per row of the first step: its tokens, and what fills it up to `width`."""
    drawn = Text()
    for i, count in enumerate(prompts):
        drawn.append(f"row {i + 1}  ")
        drawn.append(REAL * count, style=ROLES["computed"])
        drawn.append(PADDING * (width - count), style=ROLES["wasted"])
        drawn.append(f"  {count} + {width - count}\n", style="bright_black")
    drawn.append(f"{REAL} a token of the prompt   {PADDING} padding", style="bright_black")
    return drawn


def timeline(steps: Sequence[Step], width: int = 64) -> Text:
    """One line per row over the steps after the prompts: needed, or computed and thrown away."""
    share = max(1, -(-len(steps) // width))  # steps per cell
    cells = [steps[at] for at in range(0, len(steps), share)]
    drawn = Text()
    for row in range(steps[0].shape[0]):
        done = sum(not step.working[row] for step in steps)
        drawn.append(f"row {row + 1}  ")
        for step in cells:
            works = step.working[row]
            drawn.append(REAL if works else PADDING, style=ROLES["computed" if works else "wasted"])
        drawn.append(f"  {len(steps) - done} + {done}\n", style="bright_black")
    each = "a step" if share == 1 else f"{share} steps"
    drawn.append(
        f"{REAL} {each} whose token is needed   {PADDING} wasted: the row is done",
        style="bright_black",
    )
    return drawn


def texts(requests: Sequence[Request], written: Sequence[str]) -> Table:
    """Each request: its state, its tokens, and the end of its text."""
    rows = []
    for i, (request, text) in enumerate(zip(requests, written, strict=True)):
        state = request.finish_reason or request.status.value
        tail = last_words(text, max(12, console.width - BESIDE))
        rows.append(
            [
                i + 1,
                request.num_prompt_tokens,
                f"{request.num_output_tokens} of {request.max_tokens}",
                state,
                tail,
            ]
        )
    return make_table(["row", "prompt", "new tokens", "state", "text"], rows)
