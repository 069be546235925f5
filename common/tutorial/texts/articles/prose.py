"""What the sentences promise: no measured number without a source, and a readable length.

A numeral followed by a unit of measurement must be bound (`r`, `calc`) or marked as a quoted one
(`given`). Inline code, links' targets and everything that a directive owns are not prose.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .parser import Document, Problem, blank

UNITS = (
    r"[nµμum]s|s|sec(?:onds?)?|milliseconds?|microseconds?|nanoseconds?|minutes?|min|hours?|h"
    r"|(?:tokens?|tok|requests?|req|steps?|words?)(?:/s|/min| per second| a second| each second)"
    r"|(?:ms|s|seconds|bytes|kB|MB|GB|J|\$)?/token"
    r"|[kKMGT]i?B(?:/s|/token)?|bytes/s|[MGTP]?FLOPS?(?:/s)?|[MGT]?FLOPs?|[kMG]?Hz|W|kWh|J"
    r"|%|percent|percentage points"
    r"|[x×](?=[\s.,;:)!?*_|]|$)(?!\s*\d)|-fold|fold|times (?:as|faster|slower|more|less|fewer|the|longer|smaller|larger)"
)
_NUMBER = r"(?<![\w.#/-])[$]?\d[\d,.]*(?:e-?\d+)?"
_MEASURED = re.compile(rf"{_NUMBER}[ \u00a0-]?(?:{UNITS})(?![\w/])|(?<!\w)[$]\d[\d,.]*", re.MULTILINE)
_NOT_PROSE = (
    re.compile(r"``[^`\n]*(?:`[^`\n]+)*``|`[^`\n]*`"),
    re.compile(r"(?<=\])\([^)\s]*\)"),  # a link's target
    re.compile(r"https?://\S+"),
    re.compile(r"</?[a-zA-Z][^>\n]*>"),
)
_HEAD_UNIT = re.compile(rf"(?<![\w.])(?:{UNITS}|speed-?up)(?![\w])", re.IGNORECASE)


def unbound(document: Document) -> Iterator[Problem]:
    """Every measured number in prose that is neither bound nor given."""
    text = _plain(document)
    for match in _MEASURED.finditer(text):
        found = " ".join(match.group().split())
        yield Problem(
            document.path,
            document.line_of(match.start()),
            f"{found!r} is a measured number without a source: bind it with <!-- r NAME MACHINE KEY -->, "
            "compute it with <!-- calc ... -->, or mark it <!-- given SOURCE -->",
        )
    yield from _unbound_cells(document, text)


def words(document: Document) -> int:
    """Words of the text a reader reads: no code blocks, generated tables, comments or links' targets."""
    text = document.prose
    for pattern in _NOT_PROSE[1:]:
        text = pattern.sub(blank, text)
    return len(re.findall(r"[A-Za-z0-9][\w'’.,-]*", text))


def _plain(document: Document) -> str:
    """The prose without code, targets and bound values."""
    text = document.prose
    for inline in document.inlines:
        # A digit in place of the value would be measured; a letter keeps `5.3` and its `x` apart.
        text = text[: inline.start] + "a" * (inline.end - inline.start) + text[inline.end :]
    for pattern in _NOT_PROSE:
        text = pattern.sub(blank, text)
    return text


def _unbound_cells(document: Document, text: str) -> Iterator[Problem]:
    """Bare numerals in a hand-written table whose column head names a unit."""
    heads: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.lstrip().startswith("|"):
            heads = []
            continue
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not heads:
            heads = cells
            continue
        for head, cell in zip(heads, cells, strict=False):
            if _HEAD_UNIT.search(head) and re.fullmatch(r"[~<>≈ ]*\d[\d,.]*", cell):
                yield Problem(
                    document.path, number, f"{cell!r} under {head!r} is measured: bind it, or mark it given"
                )
