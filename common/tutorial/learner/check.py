"""`make check-NN`: run a stage's promises and exercises on the learner's attempt, and say which are red."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rich.text import Text

from common.errors import UserError
from common.terminal.command_line import Parser
from common.terminal.console import heading, note, show
from common.tutorial.chain import ROOT, Stage, find_stage
from common.tutorial.learner.attempt import find_attempt, promise
from common.tutorial.learner.outcomes import Outcome, run_tests

__all__ = ["HELP", "main"]

HELP = "run the stage's promises and exercises on your attempt in work/"


def verdicts(found: Iterable[Outcome]) -> dict[str, Outcome]:
    """One outcome for each test function: its first failing case, else the last one. "" is a file that failed."""
    by_name: dict[str, Outcome] = {}
    for outcome in found:
        before = by_name.get(outcome.name)
        if before is None or before.passed or before.skipped:
            by_name[outcome.name] = outcome
    return by_name


def show_promises(stage: Stage, found: dict[str, Outcome], root: Path) -> int:
    """One line a test, the stage's promises first; returns how many are not kept.

    A message is said once: an engine without its first class fails twenty tests in the same way.
    """
    said: set[str] = set()

    def say(outcome: Outcome | None) -> None:
        message = outcome.message.replace(f"{root}/", "") if outcome else ""
        if message and message not in said:
            said.add(message)
            show(Text("\n".join(f"      {line}" for line in message.splitlines()), style="bright_black"))

    if broken := found.pop("", None):
        show(Text("  test_stage.py cannot be imported yet:", style="bold red"))
        say(broken)
    red = 0
    promises = stage.manifest.proves
    for place, name in enumerate(dict.fromkeys([*promises, *found])):
        outcome = found.get(name)
        if place == len(promises):
            show(Text("  also tested:", style="bright_black"))
        if outcome and outcome.skipped:
            show(Text.assemble(("  - ", "yellow"), promise(name), (" (skipped here)", "bright_black")))
        elif outcome and outcome.passed:
            show(Text.assemble(("  ✓ ", "bold green"), promise(name)))
        else:
            red += 1
            show(Text.assemble(("  ✗ ", "bold red"), promise(name)))
            say(outcome)
    return red


def show_exercises(found: Iterable[Outcome]) -> None:
    """One line an exercise: solved when all its tests pass."""
    solved: dict[str, bool] = {}
    for outcome in found:
        name = Path(outcome.path).stem.removeprefix("test_")
        solved[name] = solved.get(name, True) and outcome.passed
    for name, done in sorted(solved.items()):
        mark = ("  ✓ ", "bold green") if done else ("  · ", "bright_black")
        show(
            Text.assemble(mark, f"exercises/{name}.py", ("" if done else "  not solved yet", "bright_black"))
        )


def show_trace(stage: Stage, folder: Path) -> None:
    """Where the attempt leaves the worked example: "step 3, request B: position 5, expected 4"."""
    from common.tutorial.learner.trace import check_attempt  # needs torch

    try:
        deviation = check_attempt(stage.number, folder)
    except UserError as error:  # our own side cannot run, for want of the checkpoint
        note(f"The worked example cannot be traced here: {error}")
        return
    if deviation:
        show(Text.assemble(("  the worked example, ", "bold"), deviation))


def main(argv: list[str]) -> int:
    parser = Parser(prog="python -m common.tutorial check", description=HELP, allow_abbrev=False)
    parser.add_argument("stage", metavar="NN")
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository (this one)")
    args = parser.parse_args(argv)
    stage = find_stage(args.stage, args.root)
    folder, _ = find_attempt(stage, args.root)
    tests = [path for path in [folder / "test_stage.py"] if path.exists()]
    exercises = sorted((folder / "exercises").glob("test_*.py"))
    found = run_tests([*tests, *exercises], cwd=args.root)
    heading(f"{stage.nn} {stage.title}: your engine")
    red = show_promises(stage, verdicts(o for o in found if Path(o.path).name == "test_stage.py"), args.root)
    show_exercises(o for o in found if Path(o.path).name != "test_stage.py")
    for path in tests:
        if path.read_bytes() != (stage.folder / path.name).read_bytes():
            note(f"work/{folder.name}/{path.name} is not the stage's own any more; yours was run.")
    if args.root == ROOT:  # the example runs on this repository's stages
        show_trace(stage, folder)
    if red:
        note(f"{red} to go. make try-{stage.nn} HINT=1 gives a hint.")
        return 1
    note(f"All promises kept. Compare with ours: make diff-{stage.nn} MINE=1")
    return 0
