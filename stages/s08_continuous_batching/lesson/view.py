"""Draws recorded steps as a timeline: one row per request, one column per step."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType
from rich.text import Text

from common.bench.colours import ROLES
from common.terminal.console import Group

from .recorder import CHUNK, DECODE, PREFILL, WAIT, Step

SIGNS = {
    PREFILL: ("█", ROLES["computed"]),
    CHUNK: ("▓", ROLES["computed"]),
    DECODE: ("─", ROLES["computed"]),
    WAIT: ("·", ROLES["waiting"]),
}


def timeline(steps: Sequence[Step], names: Sequence[str], width: int) -> RenderableType:
    """The last `width` steps. names: ids of all requests in the order of their rows."""
    first = max(0, len(steps) - width)
    label = max(map(len, names))
    lines = [Text(f"{'step':<{label}}  {ruler(first, min(width, len(steps) - first))}", style="bright_black")]
    for name in names:
        line = Text(f"{name:<{label}}  ")
        for step in steps[first:]:
            sign, style = SIGNS[step.shares[name][0]] if name in step.shares else (" ", "")
            line.append(sign, style=style)
        lines.append(line)
    return Group(*lines, legend())


def ruler(first: int, count: int) -> str:
    """Step numbers, from 1, every ten columns: 1         11        21."""
    marks = [" "] * count
    for at in range(count):
        if (first + at) % 10 == 0:
            text = str(first + at + 1)
            if at + len(text) <= count:
                marks[at : at + len(text)] = text
    return "".join(marks).rstrip()


def legend() -> Text:
    line = Text("\n")
    words = {PREFILL: "whole prompt", CHUNK: "chunk of a prompt", DECODE: "decode", WAIT: "wait"}
    for kind, (sign, style) in SIGNS.items():
        line.append(sign, style=style)
        line.append(f" {words[kind]}   ", style="bright_black")
    return line


def told(number: int, step: Step) -> str:
    """A step in one line, for output that cannot be redrawn."""
    parts = [
        f"{name} {kind} {count}" if count > 1 else f"{name} {kind}"
        for name, (kind, count) in step.shares.items()
    ]
    return f"step {number}: {step.tokens} token{'s' if step.tokens > 1 else ''}: {', '.join(parts)}"
