"""The text of an engine/ folder, and the difference between two of them.

One differ serves locks, budgets and the pages, so that they never disagree. It is Python's own
(`difflib`), which gives the same answer on every machine: a lock must not depend on the version of a
tool. How differences are shown is for `diff`, and what they may be is for `verify`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Hunk", "changed_files", "counted", "engine_files", "hunks", "plus_minus"]

IGNORED_FOLDERS = {"__pycache__", ".ipynb_checkpoints"}
NOT_COUNTED = (".html", ".css", ".js", ".svg")  # they do not count in a diff's budget


@dataclass(frozen=True, slots=True)
class Hunk:
    """Lines [a0, a1) of the old file become lines [b0, b1) of the new one; `same` where they are equal."""

    same: bool
    a0: int
    a1: int
    b0: int
    b1: int


def engine_files(folder: Path) -> dict[str, str]:
    """Path below `folder` -> text, for every file that belongs to the engine; {} where there is no folder."""
    files = {}
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if any(part in IGNORED_FOLDERS or part.startswith(".") for part in parts) or path.suffix == ".pyc":
            continue
        if path.is_file():
            files["/".join(parts)] = path.read_bytes().decode("utf-8", errors="replace").replace("\r\n", "\n")
    return files


def changed_files(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, str]:
    """Path -> "added", "changed" or "removed", sorted by path."""
    kinds = {}
    for path in sorted({*before, *after}):
        if path not in before:
            kinds[path] = "added"
        elif path not in after:
            kinds[path] = "removed"
        elif before[path] != after[path]:
            kinds[path] = "changed"
    return kinds


def hunks(before: str, after: str) -> list[Hunk]:
    """The whole of both texts as alternating equal and different stretches of lines.

    Blank lines anchor nothing, and a stretch that could as well begin a few lines later or earlier begins
    where a reader would begin it: at the `def` or the blank line above, not in the middle.
    """
    a, b = before.splitlines(), after.splitlines()
    matcher = difflib.SequenceMatcher(lambda line: not line.strip(), a, b, autojunk=False)
    found: list[Hunk] = []
    for tag, a0, a1, b0, b1 in matcher.get_opcodes():
        same = tag == "equal"
        if found and found[-1].same == same:
            last = found.pop()
            a0, b0 = last.a0, last.b0
        found.append(Hunk(same, a0, a1, b0, b1))
    return _slide(found, a, b)


def _slide(found: list[Hunk], a: list[str], b: list[str]) -> list[Hunk]:
    """Move pure insertions and deletions to the best of the places where they mean the same."""
    for i in range(1, len(found) - 1):
        up, hunk, down = found[i - 1 : i + 2]
        if hunk.same or (hunk.a0 < hunk.a1) == (hunk.b0 < hunk.b1):
            continue
        lines, start, end = (b, hunk.b0, hunk.b1) if hunk.b0 < hunk.b1 else (a, hunk.a0, hunk.a1)
        low, high = 0, 0
        while -low < up.a1 - up.a0 - 1 and lines[start + low - 1] == lines[end + low - 1]:
            low -= 1
        while high < down.a1 - down.a0 - 1 and lines[start + high] == lines[end + high]:
            high += 1
        by = max(range(high, low - 1, -1), key=lambda by: _begin_score(lines, start + by))
        found[i - 1] = Hunk(True, up.a0, up.a1 + by, up.b0, up.b1 + by)
        found[i] = Hunk(False, hunk.a0 + by, hunk.a1 + by, hunk.b0 + by, hunk.b1 + by)
        found[i + 1] = Hunk(True, down.a0 + by, down.a1, down.b0 + by, down.b1)
    return found


def _begin_score(lines: list[str], at: int) -> int:
    """How good a place line `at` is to begin a changed stretch: shallow text after a blank line is best."""
    line = lines[at]
    if not line.strip():
        return -40
    after_blank = at == 0 or not lines[at - 1].strip()
    return (20 if after_blank else 0) - (len(line) - len(line.lstrip()))


def plus_minus(before: str, after: str) -> tuple[list[str], list[str]]:
    """The non-blank lines that the difference adds and removes, in order."""
    a, b = before.splitlines(), after.splitlines()
    plus: list[str] = []
    minus: list[str] = []
    for hunk in hunks(before, after):
        if not hunk.same:
            minus += _solid(a[hunk.a0 : hunk.a1])
            plus += _solid(b[hunk.b0 : hunk.b1])
    return plus, minus


def _solid(lines: Iterable[str]) -> list[str]:
    return [line for line in lines if line.strip()]


def counted(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[int, int, int]:
    """(added lines, removed lines, files) as the budget counts them.

    Blank lines, HTML, CSS and JavaScript do not count; a removed file counts as one line.
    """
    added = removed = files = 0
    for path, kind in changed_files(before, after).items():
        if path.endswith(NOT_COUNTED):
            continue
        files += 1
        if kind == "removed":
            removed += 1
            continue
        plus, minus = plus_minus(before.get(path, ""), after[path])
        added += len(plus)
        removed += len(minus)
    return added, removed, files
