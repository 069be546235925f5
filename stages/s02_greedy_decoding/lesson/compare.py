"""Our loop and transformers, without and with its cache, as functions of a prompt; and whether they write the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from common.equality import Tally
from common.models import Model
from common.terminal.console import note

from ..engine import generate
from .black_box import BlackBox
from .outcome import Outcome, collect

Side = Callable[[list[int], int], Outcome]


def open_sides(folder: Path, model: Model) -> tuple[BlackBox | None, dict[str, Side]]:
    """(prompt, new tokens) -> outcome, for each side that can run here. No side has an end token: lengths are fixed."""
    sides: dict[str, Side] = {"ours": lambda prompt, new: collect(generate(model, prompt, new))}
    try:
        box = BlackBox(folder, model.device, model.dtype)
    except ImportError as error:
        note(f"transformers is left out: {error}")
        return None, sides
    sides["transformers, no cache"] = lambda prompt, new: box.generate(prompt, new, use_cache=False)[0]
    sides["transformers, cache"] = lambda prompt, new: box.generate(prompt, new, use_cache=True)[0]
    return box, sides


def compare(box: BlackBox | None, sides: dict[str, Side], prompt: list[int], new: int, tally: Tally) -> None:
    """Every side against transformers with its cache. Raises AssertionError at the first token that differs."""
    if box is None:
        return
    theirs, logits = box.generate(prompt, new)
    for side in sides.values():
        box.check(answers(side, prompt, new), theirs.tokens, logits, tally)


def answers(side: Side, prompt: list[int], new: int) -> Callable[[list[int]], list[int]]:
    """From the first tokens of an answer to this side's rest of it."""
    return lambda start: side([*prompt, *start], new - len(start)).tokens
