"""`make article-NN`: the article in the terminal, without the comments that only the tools need."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from rich.markdown import Markdown

from common.errors import UserError
from common.terminal.command_line import Parser
from common.terminal.console import console
from common.tutorial.chain import ROOT, parse_number

from .parser import read

READING_WIDTH = 100


def find_article(which: str, root: Path = ROOT) -> Path:
    """The file of article 00..20. Raises UserError naming those there are."""
    found = {int(path.name[:2]): path for path in sorted((root / "articles").glob("[0-9][0-9]-*.md"))}
    number = parse_number(which)
    if number is None or number not in found:
        there = ", ".join(f"{number:02d}" for number in found) or "none yet"
        raise UserError(f"article {which!r} does not exist; there are {there}")
    return found[number]


def readable(path: Path) -> str:
    """The Markdown that a terminal can show: no comments, pictures as a line that names them."""
    document = read(path)
    hidden: list[str] = []
    fence = False
    for line in document.text.split("\n"):
        if line.lstrip().startswith(("```", "~~~")):
            fence = not fence
        if not fence:
            if re.fullmatch(r"\s*<!--.*-->\s*", line):
                continue
            line = re.sub(r"<!--.*?-->", "", line)
            line = re.sub(r"!\[([^\]]*)\]\(([^)\s]+)\)", r"*[picture: \1 (articles/\2)]*", line)
        hidden.append(line)
    return "\n".join(hidden)


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="python -m common.tutorial article", description=__doc__)
    parser.add_argument("number", metavar="NN", help="00 (the model) to 20")
    parser.add_argument("--page", action="store_true", help="one screen at a time")
    args = parser.parse_args(argv)
    text = Markdown(readable(find_article(args.number)), hyperlinks=console.is_terminal)
    width = min(console.width, READING_WIDTH)
    if args.page and console.is_terminal:
        with console.pager(styles=True):
            console.print(text, width=width)
    else:
        console.print(text, width=width)
    return 0
