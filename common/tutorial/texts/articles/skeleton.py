"""The shape of an article: parts in order, one experiment that breaks the stage, length, papers.

A part begins at a mark, `<!-- part pain -->`, usually on the line above a heading; headings are free, so
that articles need not sound alike. A part may share a heading with the one before it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from .parser import Document, Problem
from .prose import words

MIN_WORDS, MAX_WORDS = 1000, 2500
MAX_ILLUSTRATIVE = 2


@dataclass(frozen=True, slots=True)
class Part:
    """A required part of an article; `items` bounds its list, `binds` asks for a recorded number in it."""

    name: str
    holds: str
    items: tuple[int, int] | None = None
    binds: bool = False
    picture: bool = False


PARTS = (
    Part("where", "where we are"),
    Part("pain", "what hurts, shown by the previous stage's number", binds=True),
    Part("predict", "predict the result before running"),
    Part("idea", "the idea in plain words, with a picture of the state", picture=True),
    Part("promises", "what this stage promises, in 3 to 5 bullets", items=(3, 5)),
    Part("diff", "a walk through the diff in reading order"),
    Part("run", "run it"),
    Part("measure", "measure it", binds=True),
    Part(
        "gap",
        "the bound on the back of an envelope, the measurement, and the gap between them named",
        binds=True,
    ),
    Part("break", "one experiment that breaks the stage on purpose, with its symptom"),
    Part("loses", "where it loses"),
    Part("left-out", "what we left out, and how production engines do it"),
    Part("exercises", "exercises"),
    Part("papers", "two to four papers with one line on what to read in each", items=(2, 4)),
)
FREE_ORDER = ("break",)  # belongs wherever the text can use it


def check(document: Document, first: bool = False) -> Iterator[Problem]:
    """Problems of form. `first` is stage 01: nothing hurts yet, so its pain needs no number."""
    yield from _check_order(document)
    for part in PARTS:
        if text := section(document, part.name):
            yield from _check_part(document, part, text, first)
    count = words(document)
    if not MIN_WORDS <= count <= MAX_WORDS:
        yield Problem(document.path, 1, f"{count:,} words; an article has {MIN_WORDS:,} to {MAX_WORDS:,}")
    titles = re.findall(r"^# \S", document.prose, re.MULTILINE)
    if len(titles) != 1:
        yield Problem(document.path, 1, f"{len(titles)} titles (`# ...`); an article has one")


def section(document: Document, name: str) -> str:
    """The source text of a part, up to the next mark; "" where it is missing."""
    lines = document.text.split("\n")
    marks = [mark for mark in document.marks if mark.name == "part"]
    for at, mark in enumerate(marks):
        if mark.text == name:
            end = marks[at + 1].line - 1 if at + 1 < len(marks) else len(lines)
            return "\n".join(lines[mark.line : end])
    return ""


def _check_order(document: Document) -> Iterator[Problem]:
    marks = [mark for mark in document.marks if mark.name == "part"]
    names = [mark.text for mark in marks]
    known = {part.name: part.holds for part in PARTS}
    for mark in marks:
        if mark.text not in known:
            yield Problem(document.path, mark.line, f"no part {mark.text!r}; there are {', '.join(known)}")
        elif names.count(mark.text) > 1 and names.index(mark.text) == marks.index(mark):
            yield Problem(
                document.path,
                mark.line,
                f"part {mark.text!r} stands {names.count(mark.text)} times, not once",
            )
    for name, holds in known.items():
        if name not in names:
            yield Problem(document.path, 1, f"no <!-- part {name} -->: {holds}")
    ordered = [mark for mark in marks if mark.text in known and mark.text not in FREE_ORDER]
    wanted = [name for name in known if name in names]
    for before, after in pairwise(ordered):
        if wanted.index(before.text) > wanted.index(after.text):
            yield Problem(document.path, after.line, f"part {after.text!r} comes before {before.text!r}")


def _check_part(document: Document, part: Part, text: str, first: bool) -> Iterator[Problem]:
    line = next(mark.line for mark in document.marks if mark.text == part.name)
    if part.items:
        count = len(re.findall(r"^\s{0,1}(?:[-*]|\d+\.) ", text, re.MULTILINE))
        if not part.items[0] <= count <= part.items[1]:
            low, high = part.items
            yield Problem(
                document.path, line, f"part {part.name!r} lists {count} items; {low} to {high} are asked for"
            )
    bound = re.search(r"<!--\s*r\s|<!--\s*result\s|<!--\s*calc\s+[^>]*\br\(", text)
    if part.binds and not bound and not (first and part.name == "pain"):
        yield Problem(document.path, line, f"part {part.name!r} holds no recorded number: {part.holds}")
    if part.picture and not re.search(r"!\[[^\]]+\]\([^)]+\)", text):
        yield Problem(
            document.path,
            line,
            f"part {part.name!r} has no picture (with a text for those who cannot see it)",
        )
