"""A trace as text: one line for each request of each step, within 100 columns; or two traces side by side, within 80."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from common.terminal.console import piece

from .ledger import UNKNOWN
from .places import Place
from .recorder import Part, Step
from .scenario import Scenario

WIDTH, PAIR_WIDTH = 100, 80  # columns of a trace, and of two side by side
IDS_SHOWN = 5
COLUMNS = (
    ("step", 4),
    ("who", 3),
    ("tokens in", 29),
    ("positions", 9),
    ("K/V to", 10),
    ("row", 3),
    ("out", 18),
)


def ranges(values: Sequence[Any]) -> str:
    """[0, 1, 2, 5] -> "0-2,5"."""
    if not all(isinstance(value, int) for value in values):
        return ",".join(map(str, values))
    runs = [[v for _, v in run] for _, run in groupby(enumerate(values), lambda pair: pair[1] - pair[0])]
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def place(at: Place) -> str:
    """(5,) -> "5"; (2, 1) -> "2[1]": place 1 of row or block 2."""
    return (f"{'/'.join(map(str, at[:-1]))}[{at[-1]}]" if len(at) > 1 else str(at[0])) if at else "0"


def places(found: list[Place] | None) -> str:
    """Places of a step, runs joined: "4-6", "2[0-3] 5[0]"; "not kept" where there is no cache."""
    if found is None:
        return "not kept"
    texts = []
    for row, members in groupby(found, lambda at: at[:-1]):
        inside = ranges([at[-1] if at else 0 for at in members])
        texts.append(f"{'/'.join(map(str, row))}[{inside}]" if row else inside)
    return " ".join(texts)


def ids(tokens: Sequence[int]) -> str:
    """Token ids; of many, the ends and how many."""
    if len(tokens) <= IDS_SHOWN:
        return " ".join(map(str, tokens))
    ends = " ".join(map(str, [*tokens[:2], "…", *tokens[-2:]]))
    return f"{ends} ({len(tokens)})"


def trace_text(title: str, scenario: Scenario, steps: Sequence[Step]) -> str:
    """The whole trace: the prompts, a line for each request of each step, and the sums."""
    lines = [title, f"model {scenario.title}, fp32 on the CPU; {scenario.new_tokens} new tokens each", ""]
    lines += _prompts(scenario)
    lines += ["", _row([name for name, _ in COLUMNS], "weights read")]
    for number, step in enumerate(steps, 1):
        for at, part in enumerate(step.parts):
            cells = [str(number) if at == 0 else "", *_cells(part, scenario)]
            lines.append(_row(cells, megabytes(step.weight_bytes) if at == 0 else ""))
    return "\n".join([*lines, "", sums(steps)]) + "\n"


def sums(steps: Sequence[Step]) -> str:
    parts = [part for step in steps for part in step.parts]
    computed, new = sum(len(part.tokens) for part in parts), sum(len(part.out) for part in parts)
    waste = sum(len(part.tokens) for part in parts if part.request == UNKNOWN)
    padding = f" ({waste} of them padding)" if waste else ""
    read = megabytes(sum(step.weight_bytes for step in steps))
    count = f"{len(steps)} step{'s' if len(steps) != 1 else ''}"
    return f"{count}, {computed} tokens through the model{padding} for {new} new ones, {read} of weights read"


def side_by_side(left: tuple[str, Sequence[Step]], right: tuple[str, Sequence[Step]]) -> str:
    """Two traces of the same scenario, step by step; `≠` marks the lines that differ."""
    columns = [[title, *_compact_lines(steps)] for title, steps in (left, right)]
    half = max(map(len, columns[0]))
    count = max(len(column) for column in columns)
    a, b = ([*column, *[""] * (count - len(column))] for column in columns)
    marks = [" ", " ", *("≠" if x.split() != y.split() else " " for x, y in zip(a[2:], b[2:], strict=True))]
    body = [f"{x:<{half}} {mark} {y}".rstrip() for x, mark, y in zip(a, marks, b, strict=True)]
    totals = [f"{title}: {sums(steps)}" for title, steps in (left, right)]
    indent = " " * (len(left[0]) + 2)
    wrapped = [line for text in totals for line in textwrap.wrap(text, PAIR_WIDTH, subsequent_indent=indent)]
    return "\n".join([*body, "", *wrapped]) + "\n"


def megabytes(count: int) -> str:
    return f"{count / 1e6:.2f} MB"


def _prompts(scenario: Scenario) -> list[str]:
    lines = []
    for request in scenario.requests:
        text = scenario.text(request.tokens)
        notes = [f"after step {request.arrives}"] if request.arrives else []
        for other in scenario.requests[: scenario.requests.index(request)]:
            pairs = list(zip(request.tokens, other.tokens, strict=False))
            shared = next((i for i, (x, y) in enumerate(pairs) if x != y), len(pairs))
            if shared >= scenario.block_size:
                notes.append(f"{shared} tokens as in {other.name}")
        note = f"  ({'; '.join(notes)})" if notes else ""
        lines.append(f"{request.name}  {' '.join(map(str, request.tokens))}{note}")
        lines += [f'   "{text}"'] if text else []
    return lines


def _cells(part: Part, scenario: Scenario) -> list[str]:
    out = " ".join(
        f"{token} {piece(scenario.text([token]))}" if scenario.tokenizer else str(token) for token in part.out
    )
    return [
        part.request,
        ids(part.tokens),
        ranges(part.positions),
        places(part.places),
        ranges(part.rows),
        out,
    ]


def _row(cells: Sequence[str], last: str) -> str:
    shown = [f"{_clip(cell, width):<{width}}" for cell, (_, width) in zip(cells, COLUMNS, strict=True)]
    return f"{'  '.join(shown)}{last:>12}".rstrip()


def _clip(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _compact_lines(steps: Sequence[Step]) -> list[str]:
    rows = [["step", "who", "positions", "K/V to", "out"]]
    for number, step in enumerate(steps, 1):
        for at, part in enumerate(step.parts):
            first = str(number) if at == 0 else ""
            out = " ".join(map(str, part.out))
            rows.append([first, part.request, ranges(part.positions), places(part.places), out])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
