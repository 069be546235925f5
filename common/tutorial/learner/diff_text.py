"""A lesson drawn in the terminal: side by side where it is wide enough, unified elsewhere."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from common.tutorial.learner.lesson import FileDiff, Lesson, Segment, marks, rows
from common.tutorial.texts.highlight import Ranges, coloured_lines, pieces

__all__ = ["WIDE", "draw"]

WIDE = 160  # columns from which two versions fit side by side
STYLES = {
    "doc": "green",
    "string": "green",
    "comment": "bright_black",
    "number": "cyan",
    "keyword": "magenta",
    "name": "bold",
    "decorator": "yellow",
    "self": "italic",
}
QUIET = "bright_black"


def draw(lesson: Lesson, width: int) -> Iterator[RenderableType]:
    """The lesson's head, its reading order, then file by file."""
    manifest = lesson.stage.manifest
    yield Text(
        f"{lesson.stage.nn} {lesson.stage.title}: {lesson.names[0]} -> {lesson.names[1]}", style="bold"
    )
    yield Text(f"{manifest.question} {manifest.idea}")
    files = "1 file" if lesson.size[2] == 1 else f"{lesson.size[2]} files"
    yield Text(f"+{lesson.size[0]} -{lesson.size[1]} in {files}", style=QUIET)
    yield Text()
    for number, file in enumerate(lesson.files, start=1):
        line = Text(f"{number:>3}. {file.path} ", style="bold")
        line.append(summary(file), style=QUIET)
        yield line.append(f"  {file.why}", style="default not bold") if file.why else line
    for number, file in enumerate(lesson.files, start=1):
        yield Text()
        yield Rule(Text(f"{number}. {file.path}", style="bold"), align="left", style=QUIET)
        if file.why:
            yield Text(file.why, style="italic")
        yield from _columns(file) if width >= WIDE and file.kind == "changed" else _unified(file)


def summary(file: FileDiff) -> str:
    """ "(new, 84 lines)", "(+12 -3)" or "(removed, 40 lines)"."""
    if file.kind == "added":
        return f"(new, {file.plus} lines)"
    return f"(removed, {file.minus} lines)" if file.kind == "removed" else f"(+{file.plus} -{file.minus})"


def _unified(file: FileDiff) -> Iterator[RenderableType]:
    if file.kind == "removed":
        yield Text(f"    all {file.minus} lines are gone", style=QUIET)
        return
    for segment in file.segments:
        if segment.kind == "fold":
            yield _fold(segment)
            continue
        marked = marks(file, segment)
        if segment.kind == "change":
            for line in range(segment.a0, segment.a1):
                yield _line(file, False, line, "-", marked[0].get(line, []))
        for line in range(segment.b0, segment.b1):
            sign = "+" if segment.kind == "change" else " "
            yield _line(file, True, line, sign, marked[1].get(line, []))


def _columns(file: FileDiff) -> Iterator[RenderableType]:
    for segment in file.segments:
        if segment.kind == "fold":
            yield _fold(segment)
            continue
        sign = {"change": ("-", "+"), "same": (" ", " ")}[segment.kind]
        marked = marks(file, segment)
        grid = Table.grid(expand=True, padding=(0, 1))
        grid.add_column(ratio=1, overflow="fold")
        grid.add_column(ratio=1, overflow="fold")
        for a, b in rows(segment):
            left = _line(file, False, a, sign[0], marked[0].get(a, [])) if a is not None else Text()
            right = _line(file, True, b, sign[1], marked[1].get(b, [])) if b is not None else Text()
            grid.add_row(left, right)
        yield Group(grid)


def _fold(segment: Segment) -> Text:
    return Text(f"      ... {segment.label}", style=QUIET)


def _line(file: FileDiff, is_new: bool, line: int, sign: str, ranges: Ranges) -> Text:
    """One line of code: number, sign, colours; removed lines stay in one colour."""
    colour = {"+": "green", "-": "red"}.get(sign, QUIET)
    text = Text(f"{line + 1:>4} ", style=QUIET, end="")
    text.append(f"{sign} ", style=f"bold {colour}")
    spans = coloured_lines(file.path, file.new if is_new else file.old)[line]
    for kind, part, inside in pieces(spans, ranges):
        style = "red" if sign == "-" else STYLES.get(kind, "")
        text.append(part, style=f"{style} underline" if inside else style)
    text.end = "\n"
    return text
