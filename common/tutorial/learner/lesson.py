"""A lesson as data: the files that differ, in reading order, with reasons, and each file cut into segments.

`diff` draws it in the terminal and `diff_html` as a page; what to fold is decided here, once. A function or
class that did not change becomes one line, so that what is left to read is the lesson and its surroundings.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.errors import UserError
from common.tutorial.chain import Stage, neighbour, stages
from common.tutorial.chain.source import Hunk, changed_files, counted, engine_files, hunks, plus_minus
from common.tutorial.learner.align import Pair, align
from common.tutorial.learner.attempt import find_attempt
from common.tutorial.texts.highlight import Ranges, changed_words

__all__ = ["FileDiff", "Lesson", "Segment", "between", "marks", "mine", "rows", "segments"]

CONTEXT = 3  # unchanged lines kept around a change
WHOLE = 12  # an unchanged stretch inside a changed function is kept whole up to this many lines


@dataclass(frozen=True, slots=True)
class Segment:
    """Lines [a0, a1) of the old and [b0, b1) of the new text: "same", "change", or "fold" with its label.

    pairs: of a change, which old line stands opposite which new one.
    """

    kind: str
    a0: int
    a1: int
    b0: int
    b1: int
    label: str = ""
    pairs: tuple[Pair, ...] = ()


@dataclass(frozen=True, slots=True)
class FileDiff:
    """One file of the lesson. `old` and `new` are its whole texts, "" where it does not exist."""

    path: str
    kind: str  # added, changed or removed
    why: str
    old: str
    new: str
    plus: int  # non-blank lines
    minus: int
    segments: tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class Lesson:
    """What changes between two engines. `names` are the two sides, as a reader would call them."""

    stage: Stage
    names: tuple[str, str]
    files: tuple[FileDiff, ...]
    size: tuple[int, int, int]  # added lines, removed lines, files, as the budget counts them


def between(stage: Stage, root: Path, start: Stage | None = None) -> Lesson:
    """From `start`, by default the stage before, to `stage`. Raises UserError where `start` is not before it."""
    start = start or neighbour(stage, -1, root)
    if start is not None and start.number >= stage.number:
        raise UserError(f"FROM={start.nn}: must be a stage before {stage.nn}")
    path = [s for s in stages(root) if (start.number if start else 0) < s.number <= stage.number]
    order = [file for one in path for file in one.manifest.diff.files]
    old = engine_files(start.engine) if start else {}
    names = (f"stage {start.nn}" if start else "nothing", f"stage {stage.nn}")
    return _lesson(stage, names, old, engine_files(stage.engine), order, reasons(path))


def mine(stage: Stage, root: Path) -> Lesson:
    """From the learner's attempt to ours."""
    folder, _ = find_attempt(stage, root)
    diff = stage.manifest.diff
    old = engine_files(folder / "engine")
    return _lesson(stage, ("yours", "ours"), old, engine_files(stage.engine), diff.files, diff.why)


def reasons(path: Sequence[Stage]) -> dict[str, str]:
    """File -> why; over several stages each reason carries its stage."""
    found: dict[str, list[str]] = {}
    for stage in path:
        for file, why in stage.manifest.diff.why.items():
            found.setdefault(file, []).append(f"{stage.nn}: {why}" if len(path) > 1 else why)
    return {file: "; ".join(whys) for file, whys in found.items()}


def _lesson(
    stage: Stage,
    names: tuple[str, str],
    old: Mapping[str, str],
    new: Mapping[str, str],
    order: Sequence[str],
    why: Mapping[str, str],
) -> Lesson:
    kinds = changed_files(old, new)
    files = []
    for path in dict.fromkeys([*order, *kinds]):
        if path in kinds:
            before, after = old.get(path, ""), new.get(path, "")
            plus, minus = plus_minus(before, after)
            cut = tuple(segments(path, before, after))
            files.append(
                FileDiff(path, kinds[path], why.get(path, ""), before, after, len(plus), len(minus), cut)
            )
    return Lesson(stage, names, tuple(files), counted(old, new))


def segments(path: str, old: str, new: str) -> list[Segment]:
    """Both texts cut into changes, visible unchanged lines, and folds."""
    if not old or not new:
        a, b = len(old.splitlines()), len(new.splitlines())
        pairs = [*((i, None) for i in range(a)), *((None, j) for j in range(b))]
        return [Segment("change", 0, a, 0, b, pairs=tuple(pairs))]
    units, headers = _units(new) if path.endswith(".py") else ({}, {})
    lines = new.splitlines()
    found = hunks(old, new)
    out: list[Segment] = []
    for place, hunk in enumerate(found):
        if hunk.same:
            out += _same(hunk, lines, units, headers, place > 0, place < len(found) - 1)
        else:
            out += _change(hunk, old.splitlines(), lines)
    return out


def _change(hunk: Hunk, old: Sequence[str], new: Sequence[str]) -> list[Segment]:
    """A change with its lines paired, cut at blank lines that stand beside two versions of one line."""
    pairs = align(old[hunk.a0 : hunk.a1], new[hunk.b0 : hunk.b1])
    out: list[Segment] = []
    start = a = b = 0
    for place, (i, j) in enumerate(pairs):
        blank = i is not None and j is not None and not new[hunk.b0 + j].strip()
        if blank and any(
            None not in pair for pair in (*pairs[place - 1 : place], *pairs[place + 1 : place + 2])
        ):
            if start < place:
                out.append(_paired(hunk, a, b, pairs[start:place]))
            out.append(_paired(hunk, i or 0, j or 0, [(i, j)], "same"))
            start, a, b = place + 1, (i or 0) + 1, (j or 0) + 1
    if start < len(pairs):
        out.append(_paired(hunk, a, b, pairs[start:]))
    return out


def _paired(hunk: Hunk, a: int, b: int, pairs: list[Pair], kind: str = "change") -> Segment:
    """The segment that begins at line `a` and `b` of the hunk; its pairs become numbers of lines in the texts."""
    olds = sum(i is not None for i, _ in pairs)
    news = sum(j is not None for _, j in pairs)
    shifted = tuple(
        (None if i is None else hunk.a0 + i, None if j is None else hunk.b0 + j) for i, j in pairs
    )
    a0, b0 = hunk.a0 + a, hunk.b0 + b
    return Segment(kind, a0, a0 + olds, b0, b0 + news, pairs=shifted)


def _units(text: str) -> tuple[dict[int, tuple[int, str]], dict[int, int]]:
    """First line -> (end, name) of each function and class; first line -> end of each `def` or `class` header."""
    units: dict[int, tuple[int, str]] = {}
    headers: dict[int, int] = {}
    try:
        tree = ast.parse(text)
    except SyntaxError:  # a learner's file, or one in conflict: it is shown without folding by function
        return units, headers
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]) - 1
            name = f"class {node.name}" if isinstance(node, ast.ClassDef) else f"{node.name}()"
            units[first] = (node.end_lineno or node.lineno, name)
            headers[node.lineno - 1] = max(node.lineno, node.body[0].lineno - 1)
    return units, headers


def _same(
    hunk: Hunk,
    lines: Sequence[str],
    units: Mapping[int, tuple[int, str]],
    headers: Mapping[int, int],
    before: bool,
    after: bool,
) -> list[Segment]:
    """An unchanged stretch: which lines stay visible, and what the folded ones are called.

    before, after: whether a change comes right before or after the stretch.
    """
    names: dict[int, str] = {}  # first line of a folded unit -> its name
    hidden = [True] * (hunk.b1 - hunk.b0)
    line = hunk.b0
    while line < hunk.b1:
        end, name = units.get(line, (hunk.b1 + 1, ""))
        if end <= hunk.b1:
            names[line] = name
            line = end
            continue
        near = (before and line - hunk.b0 < CONTEXT) or (after and hunk.b1 - line <= CONTEXT)
        header = any(first <= line < stop for first, stop in headers.items())
        hidden[line - hunk.b0] = not (near or header)
        line += 1
    for start, (end, name) in units.items():  # what is left of a function with a change in it
        whole = hunk.b0 <= start and end <= hunk.b1
        first, last = max(start, hunk.b0), min(end, hunk.b1)
        if not whole and name.endswith("()") and 0 < last - first <= WHOLE:
            hidden[first - hunk.b0 : last - hunk.b0] = [False] * (last - first)
    _hide_blank_edges(hidden, lines[hunk.b0 : hunk.b1], before, after)
    return _runs(hunk, hidden, names)


def _hide_blank_edges(hidden: list[bool], lines: Sequence[str], before: bool, after: bool) -> None:
    """Blank lines next to a fold go into it."""
    for order, beside in ((range(len(lines)), not before), (range(len(lines) - 1, -1, -1), not after)):
        for line in order:
            hidden[line] = hidden[line] or (beside and not lines[line].strip())
            beside = hidden[line]


def _runs(hunk: Hunk, hidden: list[bool], names: Mapping[int, str]) -> list[Segment]:
    """Segments for the runs of hidden and visible lines; hiding fewer than three nameless lines is not worth it."""
    out: list[Segment] = []
    start = 0
    for end in range(1, len(hidden) + 1):
        if end < len(hidden) and hidden[end] == hidden[start]:
            continue
        first, last = hunk.b0 + start, hunk.b0 + end
        inside = [name for line, name in names.items() if first <= line < last]
        fold = hidden[start] and (inside or end - start >= 3)
        count = f"{end - start} unchanged line{'s' if end - start > 1 else ''}"
        label = (f"{', '.join(inside)}: {count}" if inside else count) if fold else ""
        shift = hunk.a0 - hunk.b0
        kind = "fold" if fold else "same"
        if out and out[-1].kind == kind == "same":
            previous = out.pop()
            first = previous.b0
        out.append(Segment(kind, first + shift, last + shift, first, last, label))
        start = end
    return out


def rows(segment: Segment) -> list[Pair]:
    """(old line, new line) of each row of a visible or changed segment, side by side."""
    if segment.pairs:
        return list(segment.pairs)
    return list(zip(range(segment.a0, segment.a1), range(segment.b0, segment.b1), strict=True))


def marks(file: FileDiff, segment: Segment) -> tuple[dict[int, Ranges], dict[int, Ranges]]:
    """Line -> characters that changed in it, for old and new lines that stand opposite each other."""
    found: tuple[dict[int, Ranges], dict[int, Ranges]] = ({}, {})
    if segment.kind == "change":
        old, new = file.old.splitlines(), file.new.splitlines()
        for a, b in segment.pairs:
            if a is not None and b is not None:
                found[0][a], found[1][b] = changed_words(old[a], new[b])
    return found
