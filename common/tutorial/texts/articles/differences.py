"""The lesson's diff as an article shows it: hunks named by the definition they belong to, not by line numbers."""

from __future__ import annotations

from pathlib import Path

from common.errors import UserError
from common.tutorial.chain.source import hunks

from . import source


def side(path: Path, symbols: list[str]) -> list[str]:
    if not path.exists():
        return []
    if not symbols:
        return path.read_text(encoding="utf-8").splitlines()
    try:
        return source.quote(path, symbols)
    except UserError:
        return []  # the symbol is new, or gone


def unified(before: list[str], after: list[str], context: int) -> list[str]:
    """The difference with `context` lines around each change; `@@ name @@` says in which definition a gap ends."""
    text = "\n".join(after)
    lines: list[str] = []
    parts = hunks("\n".join(before), text)
    for at, part in enumerate(parts):
        same = after[part.b0 : part.b1]
        if not part.same:
            lines += [f"-{line}" for line in before[part.a0 : part.a1]] + [f"+{line}" for line in same]
            continue
        head = same[:context] if at > 0 else []
        tail = same[-context:] if at + 1 < len(parts) and context else []
        if len(head) + len(tail) >= len(same):
            lines += [f" {line}" for line in same]
            continue
        lines += [f" {line}" for line in head]
        if tail or at + 1 < len(parts):
            lines += [
                f"@@ {source.enclosing(text, part.b1 + 1) or 'top level'} @@",
                *(f" {line}" for line in tail),
            ]
    return [line.rstrip() for line in lines]
