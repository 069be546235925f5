"""Pictures of state as SVG: rows of labelled cells, what each is at this moment, and brackets under them.

The same data gives the same bytes. Marks have the colours of `common.bench.colours`, and differ in border and hatching
too. What is drawn is for `figures` to say.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from common.bench.colours import GREY, ROLES
from common.errors import UserError

MARKS = {  # letter: (name in the legend, fill, border, more attributes)
    "w": ("computed in this step", "#F6C48F", ROLES["computed"], 'stroke-width="2.5"'),
    "v": ("computed in this step: many tokens", "#EE9A4D", ROLES["computed"], 'stroke-width="2.5"'),
    "r": ("read, not computed again", "#BFDDF2", ROLES["reused"], ""),
    "k": ("kept", "#E7F0E9", ROLES["kept"], ""),
    "s": ("shared", "#D9EFE6", ROLES["kept"], 'stroke-width="2.5" stroke-dasharray="6 2"'),
    "c": ("wasted: computed again", "#F7DCE9", ROLES["wasted"], 'stroke-dasharray="2 2"'),
    "p": ("wasted: padding", "url(#hatch)", ROLES["wasted"], ""),
    "q": ("waits", "#FBEFC9", ROLES["waiting"], ""),
    "n": ("", "#FFFFFF", GREY, ""),  # plays none of these roles
    "f": ("free", "#FFFFFF", "#B5B5B5", 'stroke-dasharray="3 3"'),
    "t": ("", "none", "none", ""),  # text without a cell
    ".": ("", "none", "none", ""),  # nothing at all
}
NO_LEGEND = "t."
CELL_H, GAP, CHAR, MARGIN = 30, 4, 7.3, 16
TITLE_CHAR = 8.6  # of a title, which is bold
FONT = "font-family=\"ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace\""
TEXT = "font-family=\"system-ui, 'DejaVu Sans', Helvetica, Arial, sans-serif\""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of cells. `marks` has a letter of MARKS for each; `index` is printed small under them."""

    label: str
    cells: Sequence[str]
    marks: str
    index: Sequence[str] = ()
    brackets: Sequence[tuple[int, int, str]] = ()  # (first cell, last cell, text), each on a line of its own
    note: str = ""  # to the right of the cells


@dataclass(frozen=True, slots=True)
class Panel:
    title: str
    rows: Sequence[Row] = field(default_factory=list)


def draw(
    title: str, panels: Sequence[Panel], legend: bool = True, names: dict[str, str] | None = None
) -> str:
    """The picture as SVG text; `title` is what a screen reader says, `names` renames marks in the legend."""
    rows = [row for panel in panels for row in panel.rows]
    for row in rows:
        _check(row)
    longest = max((len(text) for row in rows for text in (*row.cells, *row.index)), default=1)
    cell = max(26.0, longest * CHAR + 10)
    left = MARGIN + max((len(row.label) for row in rows), default=0) * CHAR + 10
    body: list[str] = []
    y, right = float(MARGIN), 0.0
    longest_row = max((len(row.cells) for row in rows), default=0)
    room = max(620.0, left + longest_row * (cell + GAP)) - MARGIN
    for panel in panels:
        for text in textwrap.wrap(panel.title, int(room / TITLE_CHAR)):
            body.append(_text(MARGIN, y + 14, text, TEXT, 14, "start", "600"))
            right = max(right, MARGIN + len(text) * TITLE_CHAR)
            y += 20
        y += 8 if panel.title else 0
        for row in panel.rows:
            lines, y, end = _row(row, left, y, cell)
            body += lines
            right = max(right, end)
        y += 10
    if legend:
        lines, y, end = _legend(rows, y, names or {}, max(right, 620))
        body += lines
        right = max(right, end)
    return _document(title, body, right + MARGIN, y + MARGIN - 10)


def _check(row: Row) -> None:
    if len(row.marks) != len(row.cells):
        raise UserError(f"row {row.label!r}: {len(row.cells)} cells but {len(row.marks)} marks")
    if unknown := set(row.marks) - set(MARKS):
        raise UserError(f"row {row.label!r}: no mark {sorted(unknown)[0]!r}; there are {' '.join(MARKS)}")
    for first, last, text in row.brackets:
        if not 0 <= first <= last < len(row.cells):
            raise UserError(f"row {row.label!r}: bracket {text!r} covers cells {first} to {last}")


def _row(row: Row, left: float, y: float, cell: float) -> tuple[list[str], float, float]:
    out = [_text(left - 10, y + 20, row.label, TEXT, 13, "end")] if row.label else []
    for at, (text, mark) in enumerate(zip(row.cells, row.marks, strict=True)):
        if mark not in NO_LEGEND:
            out.append(_cell(left + at * (cell + GAP), y, cell, mark))
        if mark != ".":
            out.append(_text(left + at * (cell + GAP) + cell / 2, y + 20, text, FONT, 12, "middle"))
    end = left + len(row.cells) * (cell + GAP)
    if row.note:
        out.append(_text(end + 8, y + 20, row.note, TEXT, 12, "start", colour="#555555"))
        end += 8 + len(row.note) * 6.6
    y += CELL_H
    if row.index:
        for at, text in enumerate(row.index):
            out.append(
                _text(left + at * (cell + GAP) + cell / 2, y + 13, text, FONT, 10, "middle", colour="#6B6B6B")
            )
        y += 16
    taken = -1.0  # right end of what is on the current line of brackets
    for first, last, text in row.brackets:
        a, b = left + first * (cell + GAP), left + last * (cell + GAP) + cell
        begin, stop = min(a, (a + b) / 2 - len(text) * 3.4), max(b, (a + b) / 2 + len(text) * 3.4)
        y -= 30 if taken >= 0 and begin >= taken + GAP - 1 else 0  # beside the one before, where both fit
        out.append(f'<path d="M{a:g} {y + 5:g}v6H{b:g}v-6" fill="none" stroke="#6B6B6B"/>')
        out.append(_text((a + b) / 2, y + 25, text, TEXT, 12, "middle"))
        taken, end = stop, max(end, stop)
        y += 30
    return out, y + 8, end


def _legend(
    rows: Sequence[Row], y: float, names: dict[str, str], width: float
) -> tuple[list[str], float, float]:
    used = [mark for mark in MARKS if mark not in NO_LEGEND and any(mark in row.marks for row in rows)]
    used = [mark for mark in used if names.get(mark, MARKS[mark][0])]
    out, x, end = [], float(MARGIN), 0.0
    for mark in used:
        name = names.get(mark, MARKS[mark][0])
        step = 30 + len(name) * 6.6 + 18
        if x + step > width and x > MARGIN:
            x, y = float(MARGIN), y + 24
        out += [_cell(x, y, 22, mark, 16), _text(x + 30, y + 13, name, TEXT, 12, "start", colour="#333333")]
        x += step
        end = max(end, x)
    return out, y + 24, end


def _cell(x: float, y: float, width: float, mark: str, height: float = CELL_H) -> str:
    _, fill, border, more = MARKS[mark]
    shape = f'x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="4"'
    return f'<rect {shape} fill="{fill}" stroke="{border}" {more}/>'


def _text(
    x: float,
    y: float,
    text: str,
    font: str,
    size: int,
    anchor: str,
    weight: str = "400",
    colour: str = "#1A1A1A",
) -> str:
    where = f'x="{x:g}" y="{y:g}" {font} font-size="{size}" text-anchor="{anchor}" font-weight="{weight}"'
    return f'<text {where} fill="{colour}">{escape(text)}</text>'


def _document(title: str, body: list[str], width: float, height: float) -> str:
    size = f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}"'
    hatch = '<pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    hatch += '<rect width="6" height="6" fill="#FBF0F6"/><path d="M0 0v6" stroke="#E3B5CE" stroke-width="2"/></pattern>'
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        f"<title>{escape(title)}</title>",
        f"<defs>{hatch}</defs>",
        '<rect width="100%" height="100%" rx="6" fill="#FFFFFF"/>',
        *body,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"
