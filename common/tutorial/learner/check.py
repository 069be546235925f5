"""`make check-NN`: run a stage's promises and exercises on the learner's attempt, and say which are red."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    """One outcome per test function: its first failing case, else the last one. "" is a file that cannot be imported."""
    by_name: dict[str, Outcome] = {}
    for outcome in found:
        before = by_name.get(outcome.name)
        if before is None or before.passed or before.skipped:
            by_name[outcome.name] = outcome
    return by_name


def choose(stage: Stage, only: str | None, names: Sequence[str]) -> list[str]:
    """Test functions that ONLY asks for: a promise by its number, or all with a word in their name.

    Raises UserError where there is none.
    """
    promises = list(stage.manifest.proves)
    if only is None:
        return promises
    if only.isdigit() and 1 <= int(only) <= len(promises):
        return [promises[int(only) - 1]]
    word = only.strip().replace(" ", "_")
    found = [name for name in dict.fromkeys([*promises, *names]) if word and word in name]
    if not found:
        raise UserError(
            f"--only {only!r}: must be a promise from 1 to {len(promises)}, or a word of a test's name"
        )
    return found


def show_tests(
    stage: Stage, names: Iterable[str], found: dict[str, Outcome], root: Path, said: set[str]
) -> int:
    """One line per test, numbered where it is a promise. Returns how many are red.

    said: messages that were shown already; an engine without its first class fails twenty tests in the same way.
    """

    def say(outcome: Outcome | None) -> None:
        message = outcome.message.replace(f"{root}/", "") if outcome else ""
        if message and message not in said:
            said.add(message)
            show(Text("\n".join(f"      {line}" for line in message.splitlines()), style="bright_black"))

    if broken := found.pop("", None):
        show(Text("  test_stage.py cannot be imported yet:", style="bold red"))
        say(broken)
    red = 0
    numbers = {name: f"{number:>2}. " for number, name in enumerate(stage.manifest.proves, start=1)}
    for name in names:
        outcome, shown = found.get(name), numbers.get(name, "") + promise(name)
        if outcome and outcome.skipped:
            show(Text.assemble(("  - ", "yellow"), shown, (" (skipped here)", "bright_black")))
        elif outcome and outcome.passed:
            show(Text.assemble(("  ✓ ", "bold green"), shown))
        else:
            red += 1
            show(Text.assemble(("  ✗ ", "bold red"), shown))
            say(outcome)
    return red


def show_exercises(found: Iterable[Outcome], root: Path) -> None:
    """One line per exercise, with the file to edit: solved when all its tests pass."""
    solved: dict[str, bool] = {}
    for outcome in found:
        path = Path(outcome.path)
        file = path.with_name(path.name.removeprefix("test_"))
        name = str(file.relative_to(root) if file.is_relative_to(root) else file)
        solved[name] = solved.get(name, True) and outcome.passed
    for name, done in sorted(solved.items()):
        mark = ("  ✓ ", "bold green") if done else ("  · ", "bright_black")
        show(Text.assemble(mark, name, ("" if done else "  not solved yet", "bright_black")))


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
    parser.add_argument(
        "--only", metavar="N|WORD", help="one promise by its number, or tests with a word in their name"
    )
    args = parser.parse_args(argv)
    stage = find_stage(args.stage, args.root)
    folder, _ = find_attempt(stage, args.root)
    tests = folder / "test_stage.py"
    every = (
        [one.name for one in run_tests([tests], cwd=args.root, collect_only=True)] if tests.exists() else []
    )
    wanted = choose(stage, args.only, [name for name in dict.fromkeys(every) if name])
    heading(f"{stage.nn} {stage.title}: your engine")
    said: set[str] = set()
    found = verdicts(run_tests([tests], cwd=args.root, only={tests: wanted})) if tests.exists() else {}
    red = show_tests(stage, wanted, found, args.root, said)
    if args.only is None:
        others = [name for name in dict.fromkeys(every) if name and name not in wanted]
        red += show_others(stage, others, tests, args.root, red, said)
        show_exercises(run_tests(sorted((folder / "exercises").glob("test_*.py")), cwd=args.root), args.root)
    if tests.exists() and tests.read_bytes() != (stage.folder / tests.name).read_bytes():
        note(f"work/{folder.name}/{tests.name} has been edited; your version was run.")
    if args.root == ROOT and args.only is None:  # the example runs on this repository's stages
        show_trace(stage, folder)
    if red:
        note(f"{red} to go. make try-{stage.nn} HINT=1 gives a hint.")
        return 1
    if args.only is None:
        note(f"All promises kept. Compare with ours: make diff-{stage.nn} MINE=1")
    return 0


def show_others(stage: Stage, others: list[str], tests: Path, root: Path, red: int, said: set[str]) -> int:
    """The tests that are not promises, run once all promises are kept. Returns how many are red."""
    if not others:
        return 0
    if red:
        note(f"  also tested, once the promises are kept: {len(others)} more")
        return 0
    show(Text("  also tested:", style="bright_black"))
    return show_tests(stage, others, verdicts(run_tests([tests], cwd=root, only={tests: others})), root, said)
