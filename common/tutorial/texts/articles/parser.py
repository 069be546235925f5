"""Reads an article into directives, blocks and prose; knows nothing of what a directive means.

A directive is an HTML comment, so that a Markdown viewer shows only what it produced.

On a line of its own it owns the block below it::

    <!-- code 03 engine/kv_cache.py KVCache.append -->
    [`engine/kv_cache.py`](...) · `KVCache.append`     <- location line, generated

    ```python                                          <- fence or table, generated
    ...

Inside a paragraph it owns the text up to its closing twin::

    ... is <!-- r s03 cpu speedup_512 .1f -->5.3<!-- /r -->x faster.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

BLOCKS = ("code", "diff", "run", "result", "stages", "ladder", "flags", "illustrative", "commands")
BY_HAND = ("illustrative", "commands")  # blocks whose body a person writes
INLINE = ("r", "minus", "ratio", "percent", "same", "calc", "given")
MARKS = ("part", "note")  # stand for themselves, own no text

_COMMENT = re.compile(r"<!--\s*(/?\w+)(?:\s+(.*?))?\s*-->", re.DOTALL)
_ALONE = re.compile(r"^\s*<!--\s*([\w-]+)(?:\s+(.*?))?\s*-->\s*$")
_FENCE = re.compile(r"^(\s*)(`{3,}|~{3,})\s*(\S*)")
_LOCATION = re.compile(r"^\s*\[`[^`]+`\]\(")
_INLINE = re.compile(rf"<!--\s*({'|'.join(INLINE)})(?:\s+(.*?))?\s*-->(.*?)<!--\s*/\1\s*-->", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to put right: where, and one line that says what."""

    path: Path
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}"


@dataclass(frozen=True, slots=True)
class Directive:
    name: str
    text: str  # what follows the name, options included
    line: int  # 1-based


@dataclass(frozen=True, slots=True)
class Block:
    """Lines [start, end) belong to `directive`; None for a fence without a directive."""

    directive: Directive | None
    start: int
    end: int
    body: list[str]
    info: str = ""  # the fence's language
    indent: str = ""

    @property
    def code(self) -> list[str]:
        """The lines between the fences."""
        opening = next((i for i, line in enumerate(self.body) if _FENCE.match(line)), None)
        return [] if opening is None else [line[len(self.indent) :] for line in self.body[opening + 1 : -1]]


@dataclass(frozen=True, slots=True)
class Inline:
    """Characters [start, end) of the text are the value of `directive`."""

    directive: Directive
    start: int
    end: int
    value: str


@dataclass(slots=True)
class Document:
    path: Path
    text: str
    blocks: list[Block] = field(default_factory=list)
    inlines: list[Inline] = field(default_factory=list)
    marks: list[Directive] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    prose: str = ""  # the text with every block and comment blanked; offsets and line breaks kept

    def line_of(self, offset: int) -> int:
        return self.text.count("\n", 0, offset) + 1


def read(path: Path, text: str | None = None) -> Document:
    """Parse a Markdown file (or `text` in its place)."""
    document = Document(path, path.read_text(encoding="utf-8") if text is None else text)
    lines = document.text.split("\n")
    owned = _scan_blocks(document, lines)
    visible = "\n".join(" " * len(line) if taken else line for line, taken in zip(lines, owned, strict=True))
    _scan_inlines(document, visible)
    document.prose = _COMMENT.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), visible)
    return document


def blank(match: re.Match[str]) -> str:
    """Spaces of the same length, so that offsets stay true."""
    return re.sub(r"[^\n]", " ", match.group())


def _scan_blocks(document: Document, lines: list[str]) -> list[bool]:
    """Find blocks and marks; say for each line whether one of them owns it."""
    owned = [False] * len(lines)
    at = 0
    while at < len(lines):
        alone, fence = _ALONE.match(lines[at]), _FENCE.match(lines[at])
        end = at + 1
        if alone:
            end = _read_directive(document, lines, at, alone)
        elif fence:
            end = _end_of_fence(document, lines, at)
            document.blocks.append(Block(None, at, end, lines[at:end], fence.group(3)))
        if alone or fence:
            owned[at:end] = [True] * (end - at)
        at = end
    return owned


def _read_directive(document: Document, lines: list[str], at: int, match: re.Match[str]) -> int:
    """Take the directive at line `at`; return the line after what it owns."""
    directive = Directive(match.group(1), match.group(2) or "", at + 1)
    if directive.name in MARKS:
        document.marks.append(directive)
        return at + 1
    if directive.name not in BLOCKS:
        known = ", ".join(BLOCKS + MARKS)
        document.problems.append(
            Problem(document.path, at + 1, f"no block directive {directive.name!r}; there are {known}")
        )
        return at + 1
    end = _end_of_body(document, lines, at + 1)
    body = lines[at + 1 : end]
    opening = next((_FENCE.match(line) for line in body if _FENCE.match(line)), None)
    indent = lines[at][: len(lines[at]) - len(lines[at].lstrip())]
    info = opening.group(3) if opening else ""
    document.blocks.append(Block(directive, at + 1, end, body, info, indent))
    return end


def _end_of_body(document: Document, lines: list[str], start: int) -> int:
    """A body is an optional location line and a blank one, then a fence or a table."""
    at = start
    if at < len(lines) and _LOCATION.match(lines[at]):
        at += 1
        if at < len(lines) and not lines[at].strip():
            at += 1
    if at < len(lines) and _FENCE.match(lines[at]):
        return _end_of_fence(document, lines, at)
    end = at
    while end < len(lines) and lines[end].lstrip().startswith("|"):
        end += 1
    return end if end > at else start


def _end_of_fence(document: Document, lines: list[str], start: int) -> int:
    opening = _FENCE.match(lines[start])
    assert opening is not None
    closing = re.compile(rf"^\s*{re.escape(opening.group(2)[0])}{{{len(opening.group(2))},}}\s*$")
    for at in range(start + 1, len(lines)):
        if closing.match(lines[at]):
            return at + 1
    document.problems.append(Problem(document.path, start + 1, "this fence is never closed"))
    return len(lines)


def _scan_inlines(document: Document, visible: str) -> None:
    taken = []
    for match in _INLINE.finditer(visible):
        line = document.line_of(match.start())
        directive = Directive(match.group(1), match.group(2) or "", line)
        document.inlines.append(Inline(directive, match.start(3), match.end(3), match.group(3)))
        taken.append((match.start(), match.end()))
        _check_place(document, visible, match.start(), directive)
    for match in _COMMENT.finditer(visible):
        if not any(start <= match.start() < end for start, end in taken):
            document.problems.append(
                Problem(document.path, document.line_of(match.start()), _stray(match.group(1)))
            )


def _stray(name: str) -> str:
    if name.lstrip("/") in INLINE:
        return f"`{name}` without its twin: <!-- r ... -->value<!-- /r -->"
    if name in BLOCKS + MARKS:
        return f"`{name}` must be alone on its line, and on one line"
    return f"no directive {name!r}; inside a line there are {', '.join(INLINE)}"


def _check_place(document: Document, visible: str, start: int, directive: Directive) -> None:
    """Viewers show a line that begins with a comment as raw HTML, and a comment with `--` as text."""
    before = visible[visible.rfind("\n", 0, start) + 1 : start]
    if not before.strip(" \t>*+-0123456789.)"):
        text = f"`{directive.name}` begins its line, which GitHub would show raw: move a word before it"
        document.problems.append(Problem(document.path, directive.line, text))
    if "--" in directive.text:
        text = f"`{directive.name}` holds `--`, which ends an HTML comment: reword it"
        document.problems.append(Problem(document.path, directive.line, text))
