"""`make try-NN`: set up an attempt at a stage, show its state, give hints, start over.

A learner's files are never overwritten: starting over moves them aside, and only after asking.
"""

from __future__ import annotations

import sys
from pathlib import Path

from common.errors import UserError
from common.terminal.command_line import Parser
from common.terminal.console import console, heading, note
from common.tutorial.chain import ROOT, Stage, find_stage, neighbour
from common.tutorial.learner.attempt import (
    Attempt,
    attempt_folder,
    find_attempt,
    promise,
    save_attempt,
    start_attempt,
    touched,
)
from common.tutorial.learner.hints import hints

__all__ = ["HELP", "main"]

HELP = "set up your own attempt at a stage in work/; hints; start over"


def begin(stage: Stage, root: Path) -> None:
    """Lay out the attempt and say what to do."""
    folder = start_attempt(stage, root)
    heading(f"Your turn: {stage.nn} {stage.title}")
    console.print(stage.manifest.question, style="bold")
    console.print(stage.manifest.idea)
    previous = neighbour(stage, -1, root)
    engine = f"stage {previous.nn}'s engine" if previous else "this first stage's engine and its exercises"
    console.print(f"\nwork/{folder.name}/ holds {engine}. Make it keep these promises:")
    for number, name in enumerate(stage.manifest.proves, start=1):
        console.print(f"  {number:>2}. {promise(name)}")
    note(
        f"The names that they use are in work/{folder.name}/TASK.md. Edit work/{folder.name}/engine/, then make"
    )
    note(f"check-{stage.nn} (ONLY=1 for the first promise alone). Stuck? make try-{stage.nn} HINT=1.")


def show_state(stage: Stage, folder: Path, attempt: Attempt) -> None:
    """What an existing attempt holds; nothing is changed."""
    yours = touched(folder, attempt)
    console.print(f"work/{folder.name}/ exists already; nothing was overwritten.")
    console.print(f"changed by you: {', '.join(yours) or 'nothing yet'}")
    note(f"make check-{stage.nn} tests the promises; RESET=1 starts over; HINT=1 gives a hint.")


def next_hint(stage: Stage, folder: Path, attempt: Attempt) -> None:
    """The next hint; after the last one, that one again."""
    every = hints(stage)
    attempt.hints = min(attempt.hints + 1, len(every))
    save_attempt(folder, attempt)
    console.print(f"Hint {attempt.hints} of {len(every)}: {every[attempt.hints - 1]}")


def reset(stage: Stage, root: Path, agreed: bool) -> None:
    """Move the old attempt aside, after asking if it holds any work, and start over."""
    folder, attempt = find_attempt(stage, root)
    yours = touched(folder, attempt)
    if yours and not agreed:
        if not sys.stdin.isatty():
            raise UserError(
                f"work/{folder.name} holds your changes ({', '.join(yours)}): add ARGS=--yes to start over"
            )
        if (
            input(f"You changed {', '.join(yours)}. Put it aside and start over? [y/N] ").strip().lower()
            != "y"
        ):
            console.print("nothing was changed")
            return
    aside = root / "work" / "old"
    aside.mkdir(exist_ok=True)
    number = 1
    while (aside / f"{folder.name}-{number}").exists():
        number += 1
    folder.rename(aside / f"{folder.name}-{number}")
    console.print(f"put aside as work/old/{folder.name}-{number}")
    begin(stage, root)


def main(argv: list[str]) -> int:
    parser = Parser(prog="python -m common.tutorial try", description=HELP, allow_abbrev=False)
    parser.add_argument("stage", metavar="NN")
    parser.add_argument("--hint", action="store_true", help="the next hint")
    parser.add_argument("--reset", action="store_true", help="put the attempt aside and start over")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository (this one)")
    args = parser.parse_args(argv)
    stage = find_stage(args.stage, args.root)
    if not attempt_folder(stage, args.root).exists():
        begin(stage, args.root)
        if not args.hint:
            return 0
    folder, attempt = find_attempt(stage, args.root)
    if args.reset:
        reset(stage, args.root, args.yes)
    elif args.hint:
        next_hint(stage, folder, attempt)
    else:
        show_state(stage, folder, attempt)
    return 0
