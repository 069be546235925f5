"""`make diff-NN`: the lesson as a diff, in reading order and with reasons.

What differs and what is folded is decided in `lesson`; here a reader chooses what to compare and how to see it.
"""

from __future__ import annotations

import os
import sys
import webbrowser
from pathlib import Path

from common.errors import UserError
from common.terminal.command_line import Parser
from common.terminal.console import console, note, show
from common.tutorial.chain import ROOT, find_stage
from common.tutorial.learner.diff_text import draw
from common.tutorial.learner.lesson import Lesson, between, mine

__all__ = ["HELP", "main"]

HELP = "the lesson as a diff in reading order; --html for a page"


def show_lesson(lesson: Lesson, pager: bool) -> None:
    """Print the lesson, through the user's pager where there is a terminal."""
    if not lesson.files:
        show(f"no difference between {lesson.names[0]} and {lesson.names[1]}")
        return
    if not pager:
        show(*draw(lesson, console.width))
        return
    os.environ.setdefault("LESS", "FRX")  # as git does: colours, and no pager for what fits on the screen
    with console.pager(styles=True):
        show(*draw(lesson, console.width))


def main(argv: list[str]) -> int:
    parser = Parser(prog="python -m common.tutorial diff", description=HELP, allow_abbrev=False)
    parser.add_argument("stage", metavar="NN")
    parser.add_argument(
        "--from", dest="start", metavar="NN", help="compare with an earlier stage than the previous"
    )
    parser.add_argument("--mine", action="store_true", help="your attempt in work/ against ours")
    parser.add_argument(
        "--trace", action="store_true", help="the worked example before and after, side by side"
    )
    parser.add_argument("--html", action="store_true", help="write a page for every stage and open this one")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="where the pages go (work/diffs)")
    parser.add_argument("--no-pager", action="store_true", help="print at once")
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository (this one)")
    args = parser.parse_args(argv)
    stage = find_stage(args.stage, args.root)
    if args.mine and args.start:
        raise UserError("--mine and --from: one of them; your attempt is compared with our stage")
    if args.trace:
        from common.tutorial.learner.trace import side_by_side  # runs both engines, and so needs torch

        print(side_by_side(stage.number), end="")
        return 0
    start = find_stage(args.start, args.root) if args.start else None
    lesson = mine(stage, args.root) if args.mine else between(stage, args.root, start)
    if not args.html:
        show_lesson(lesson, sys.stdout.isatty() and not args.no_pager)
        return 0
    from common.tutorial.learner.diff_html import write_page, write_pages

    folder = args.out or args.root / "work" / "diffs"
    write_pages(args.root, folder)
    page = write_page(lesson, folder, args.root)
    note(f"wrote {page} and an index beside it")
    if sys.stdout.isatty():
        webbrowser.open(page.resolve().as_uri())
    return 0
