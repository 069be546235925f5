"""One colour language for every picture: charts of results, pictures of state, and the demos' timelines.

Okabe and Ito's palette ("Color Universal Design", 2008), which colour-blind readers can tell apart. What work is doing
has one colour from stage 03 on, whatever draws it.
"""

from __future__ import annotations

__all__ = ["GREY", "PALETTE", "ROLES", "STYLES"]

BLUE, ORANGE, GREEN, PINK, YELLOW, SKY, BLACK = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000",
)  # fmt: skip
PALETTE = (BLUE, ORANGE, GREEN, PINK, YELLOW, SKY, BLACK)  # darkest first, for lines that stand for no role
GREY = "#6B6B6B"

ROLES = {
    "computed": ORANGE,  # goes through the model in this step
    "reused": BLUE,  # read from the cache instead of being computed
    "kept": GREEN,  # done: finished, delivered, remembered
    "wasted": PINK,  # computed for nothing: again, as padding, or after its reader has gone
    "waiting": YELLOW,
}
# The same roles on a terminal, for rich.
STYLES = {
    "computed": "bold yellow", "reused": "blue", "kept": "green", "wasted": "magenta", "waiting": "bright_black",
}  # fmt: skip
