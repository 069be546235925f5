"""Lessons as pages: one for each stage and an index, each a file of its own that needs nothing else.

`diff.html.j2` and `diffs.html.j2` beside this file are the pages, `diff.css` is their look.
"""

from __future__ import annotations

import functools
import html
from collections.abc import Iterator
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from common.tutorial.chain import Stage, neighbour, stages
from common.tutorial.learner.diff_text import summary
from common.tutorial.learner.lesson import FileDiff, Lesson, Segment, between, marks, rows
from common.tutorial.texts.highlight import Ranges, coloured_lines, pieces

__all__ = ["write_page", "write_pages"]

HERE = Path(__file__).parent / "pages"
PAD = Markup('<div class="l pad"><code></code></div>')


@functools.cache
def _environment() -> Environment:
    loader = FileSystemLoader(HERE)
    made = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.globals.update(
        css=Markup((HERE / "diff.css").read_text(encoding="utf-8")),
        blocks=blocks,
        summary=summary,
        prose=prose,
        page_name=page_name,
    )
    return made


def page_name(stage: Stage) -> str:
    return f"{stage.nn}-{stage.slug.replace('_', '-')}.html"


def write_pages(root: Path, folder: Path) -> None:
    """The page of every stage, and index.html, in `folder`."""
    lessons = [between(stage, root) for stage in stages(root)]
    for lesson in lessons:
        write_page(lesson, folder, root)
    text = _environment().get_template("diffs.html.j2").render(lessons=lessons)
    (folder / "index.html").write_text(text, encoding="utf-8", newline="\n")


def write_page(lesson: Lesson, folder: Path, root: Path) -> Path:
    """One lesson's page in `folder`; a comparison other than with the previous stage gets a name of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    stage = lesson.stage
    before, after = neighbour(stage, -1, root), neighbour(stage, 1, root)
    usual = lesson.names[0] == (f"stage {before.nn}" if before else "nothing")
    name = page_name(stage)
    if not usual:
        name = name.replace(".html", f"-from-{lesson.names[0].removeprefix('stage ')}.html")
    text = (
        _environment()
        .get_template("diff.html.j2")
        .render(lesson=lesson, stage=stage, manifest=stage.manifest, before=before, after=after)
    )
    path = folder / name
    path.write_text(text, encoding="utf-8", newline="\n")
    return path


def prose(text: str) -> Markup:
    """A sentence of a manifest; `code` between backticks is set as code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:  # an odd backtick is only a character
        return Markup(html.escape(text))
    coded = [
        f"<code>{html.escape(part)}</code>" if i % 2 else html.escape(part) for i, part in enumerate(parts)
    ]
    return Markup("".join(coded))


def blocks(file: FileDiff) -> Iterator[dict[str, object]]:
    """What the page shows of a file: {kind, label, old, new}, the sides as lists of lines in HTML."""
    for segment in file.segments:
        old, new = _sides(file, segment)
        yield {"kind": segment.kind, "label": segment.label, "old": old, "new": new}


def _sides(file: FileDiff, segment: Segment) -> tuple[list[Markup], list[Markup]]:
    """Both columns, with empty rows where a line has nothing opposite; a column without any line is empty."""
    marked = marks(file, segment)
    old, new = [], []
    for a, b in rows(segment):
        old.append(PAD if a is None else _line(file.path, file.old, a, marked[0].get(a, [])))
        new.append(PAD if b is None else _line(file.path, file.new, b, marked[1].get(b, [])))
    return old if segment.a0 < segment.a1 else [], new if segment.b0 < segment.b1 else []


def _line(path: str, text: str, number: int, ranges: Ranges) -> Markup:
    """A numbered line with its colours, as HTML."""
    out = []
    for kind, part, inside in pieces(coloured_lines(path, text)[number], ranges):
        part = html.escape(part, quote=False)
        part = f'<span class="{kind}">{part}</span>' if kind else part
        out.append(f"<mark>{part}</mark>" if inside and part.strip() else part)
    return Markup(f'<div class="l"><i>{number + 1}</i><code>{"".join(out)}</code></div>')
