"""Syntax colours and changed words, line by line, for the terminal and for the page alike."""

from __future__ import annotations

import difflib
import functools
import itertools
import re

from pygments.lexers import get_lexer_for_filename  # type: ignore[import-untyped]
from pygments.lexers.special import TextLexer  # type: ignore[import-untyped]
from pygments.token import Comment, Keyword, Name, Number, Operator, String, _TokenType  # type: ignore[import-untyped]
from pygments.util import ClassNotFound  # type: ignore[import-untyped]

__all__ = ["Ranges", "Span", "changed_words", "coloured_lines", "pieces"]

Span = tuple[str, str]  # (kind, text); kind "" is plain
Ranges = list[tuple[int, int]]  # [first, last) characters of a line

KINDS: tuple[tuple[_TokenType, str], ...] = (
    (String.Doc, "doc"),
    (Comment, "comment"),
    (String, "string"),
    (Number, "number"),
    (Keyword, "keyword"),
    (Operator.Word, "keyword"),
    (Name.Function, "name"),
    (Name.Class, "name"),
    (Name.Decorator, "decorator"),
    (Name.Builtin.Pseudo, "self"),
    (Name.Tag, "keyword"),
    (Name.Attribute, "name"),
)
WORD = re.compile(r"\w+|\s+|[^\w\s]")
SIMILAR = 0.5  # below this two lines have nothing to do with each other


@functools.lru_cache(maxsize=256)
def coloured_lines(path: str, text: str) -> tuple[tuple[Span, ...], ...]:
    """The lines of `text`, each as spans; the lexer sees the whole file, so that docstrings stay docstrings."""
    try:
        lexer = get_lexer_for_filename(path, stripnl=False)
    except ClassNotFound:
        lexer = TextLexer(stripnl=False)
    lines: list[list[Span]] = [[]]
    for token, value in lexer.get_tokens(text):
        kind = next((kind for parent, kind in KINDS if token in parent), "")
        for number, part in enumerate(value.split("\n")):
            if number:
                lines.append([])
            if part:
                lines[-1].append((kind, part))
    return tuple(tuple(line) for line in lines[: len(text.splitlines())])


def changed_words(old: str, new: str) -> tuple[Ranges, Ranges]:
    """Character ranges that differ within two versions of a line; nothing where the lines are unrelated."""
    a, b = WORD.findall(old), WORD.findall(new)
    matcher = difflib.SequenceMatcher(None, a, b, autojunk=False)
    if matcher.ratio() < SIMILAR:
        return [], []
    ranges: tuple[Ranges, Ranges] = ([], [])
    for tag, a0, a1, b0, b1 in matcher.get_opcodes():
        if tag == "equal":
            continue
        for side, words, first, last in ((ranges[0], a, a0, a1), (ranges[1], b, b0, b1)):
            start = len("".join(words[:first]))
            if last > first:
                side.append((start, start + len("".join(words[first:last]))))
    return ranges


def pieces(spans: tuple[Span, ...], ranges: Ranges) -> list[tuple[str, str, bool]]:
    """The spans of a line cut at `ranges`: (kind, text, whether it is in a range)."""
    out = []
    at = 0
    edges = sorted({edge for pair in ranges for edge in pair})
    for kind, text in spans:
        cuts = [at, *(edge for edge in edges if at < edge < at + len(text)), at + len(text)]
        for first, last in itertools.pairwise(cuts):
            inside = any(start <= first < end for start, end in ranges)
            out.append((kind, text[first - at : last - at], inside))
        at += len(text)
    return out
