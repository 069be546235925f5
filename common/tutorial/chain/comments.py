"""Part of `make lint`: no comment at the end of a line makes the formatter split that line.

    LIMIT = (
        16  # a comment that is too long to stand where it was written
    )

Such a comment goes on the line above. Checked are statements over several lines that would fit on one without their
comment; a list with a comment at each entry, which ends in a comma, is as its writer wanted it.
"""

from __future__ import annotations

import io
import re
import sys
import tokenize
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from tokenize import TokenInfo

__all__ = ["main", "split_by_comments"]

WIDTH = 110  # as in pyproject.toml
IGNORED = re.compile(r"(^|/)(\.|work/|__pycache__/)")
# Files that still have some. It only shrinks: a file that has none any more is refused here.
ALLOWED: frozenset[str] = frozenset()
SILENT = (tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING)


def statements(source: str) -> Iterator[list[TokenInfo]]:
    """Tokens of each logical line, its trailing comments included."""
    line: list[TokenInfo] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NEWLINE:
            yield line
            line = []
        elif token.type not in SILENT:
            line.append(token)


def split_by_comments(source: str) -> Iterator[int]:
    """Numbers of the lines where a statement begins that only its comment keeps from one line."""
    for tokens in statements(source):
        while tokens and tokens[0].type == tokenize.COMMENT:
            del tokens[0]  # on lines above
        comments = [token for token in tokens if token.type == tokenize.COMMENT]
        code = [token for token in tokens if token.type != tokenize.COMMENT]
        if not code or not comments or code[0].start[0] == code[-1].end[0]:
            continue
        wanted = any(
            comment.line.lstrip().startswith("#")
            or comment.string.startswith(("# fmt:", "# type:", "# noqa"))
            for comment in comments
        )
        multiline = any(token.start[0] != token.end[0] for token in code)
        if not wanted and not multiline and not one_entry_a_line(code) and width(code) <= WIDTH:
            yield code[0].start[0]


def one_entry_a_line(code: list[TokenInfo]) -> bool:
    """A comma before a bracket that closes on a line of its own."""
    return any(
        a.string == "," and b.string in (")", "]", "}") and a.start[0] != b.start[0]
        for a, b in pairwise(code)
    )


def width(code: list[TokenInfo]) -> int:
    """Of the statement on one line."""
    total = code[0].end[1]
    for before, token in pairwise(code):
        if token.start[0] == before.end[0]:
            total += token.start[1] - before.end[1]
        elif before.string not in "([{" and token.string not in ")]}.":
            total += 1
        total += len(token.string)
    return total


def find(root: Path, allowed: frozenset[str] = ALLOWED) -> Iterator[str]:
    """One line for each such comment below `root`, and for each allowed file that needs no leave any more."""
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root).as_posix()
        if IGNORED.search(name):
            continue
        lines = list(split_by_comments(path.read_text(encoding="utf-8")))
        if name in allowed:
            if not lines:
                yield f"{name}: is allowed in common/tutorial/chain/comments.py and need not be"
            continue
        for line in lines:
            yield f"{name}:{line}: the comment at the end makes the formatter split the line: put it above"


def main() -> int:
    found = list(find(Path.cwd()))
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
