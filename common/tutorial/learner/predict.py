"""`make predict-NN`: the stage's questions, asked before it is run, and scored against what was measured.

Without a terminal the questions are printed, and `--answers` scores given ones. Two results count: the
recorded one, and a local one where `work/results/` has it. Either makes an answer right, and so does every value
between which the samples of a result spread: an answer within the noise is not wrong.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from common.errors import UserError
from common.terminal.command_line import Parser
from common.terminal.console import console, heading, note, show
from common.tutorial.chain import ROOT, Stage, find_stage
from common.tutorial.chain.claims import Lookup, Value, measured_here, recorded
from common.tutorial.chain.manifest import Prediction
from common.tutorial.chain.predictions import is_right, offered, right_answer, values
from common.tutorial.chain.spread import Samples, keys_of, recorded_samples

__all__ = ["HELP", "Score", "main", "parse_answer", "score"]

HELP = "the stage's questions, asked before the run and scored against the results"
LOCAL = "work/results"


@dataclass(frozen=True, slots=True)
class Score:
    """How an answer did. `recorded` and `local` are None where there is no such result."""

    right: bool
    recorded: Value | None
    local: Value | None


def score(item: Prediction, answer: Value, *sources: tuple[Lookup, Samples]) -> Score:
    """Compare `answer` with what is recorded and with the local result, in this order."""
    found = [values(item, *source) for source in sources]
    right = any(some and is_right(item, answer, some) for some in found)
    return Score(bool(right), *(some[0] if some else None for some in found))


def parse_answer(item: Prediction, text: str) -> Value:
    """A letter or a choice itself where there are choices, else a number, its unit allowed after it."""
    text = text.strip()
    letters = _letters(item)
    if every := offered(item):
        named = dict(zip(letters, every, strict=True))
        for name, choice in [*named.items(), *((str(choice), choice) for choice in every)]:
            if text.lower() == name.lower():
                return choice
        if item.bounds and (number := _number(item, text)) is not None:
            return right_answer(item, number)
        raise UserError(f"answer {text!r}: choose from {', '.join(letters)}")
    if (number := _number(item, text)) is None:
        raise UserError(f"answer {text!r}: must be a number{_in(item)}")
    return number


def _number(item: Prediction, text: str) -> float | None:
    try:
        return float(text.removesuffix(item.unit).replace(",", ""))
    except ValueError:
        return None


def _letters(item: Prediction) -> list[str]:
    return [chr(ord("a") + i) for i in range(len(offered(item)))]


def _in(item: Prediction) -> str:
    return f" in {item.unit}" if item.unit else ""


def show_question(number: int, item: Prediction) -> None:
    console.print()
    question = Table.grid(padding=(0, 1, 0, 0))
    question.add_row(Text(f"{number}.", style="bold"), item.question)
    show(question)
    for letter, choice in zip(_letters(item), offered(item), strict=True):
        console.print(f"   {letter}) {_shown(item, choice)}")
    if not offered(item):
        note(f"   a number{_in(item)}" + ("" if not item.tolerance else f", within {item.tolerance:.0%}"))


def _shown(item: Prediction, value: Value) -> str:
    if isinstance(value, str | bool):
        return str(value)
    return f"{value:.4g} {item.unit}".strip()


def show_score(item: Prediction, answer: Value | None, result: Score) -> None:
    known = [("recorded", result.recorded), ("here", result.local)]
    if not keys_of(item.answer):  # follows from a rule, which is the same everywhere
        known = [("answer", result.recorded)]
    facts = [f"{name}: {_shown(item, value)}" for name, value in known if value is not None]
    if answer is not None and facts:
        mark = ("   right  ", "bold green") if result.right else ("   not quite  ", "bold red")
        show(Text.assemble(mark, ", ".join(facts)))
    else:
        console.print("   " + (", ".join(facts) or "no result yet: run the stage's benchmark"))
    show(Padding(Text(item.why, style="bright_black"), (0, 0, 0, 3)))


def ask(item: Prediction, read: Callable[[str], str]) -> Value | None:
    """The learner's answer; None for an empty line, which skips the question."""
    while True:
        text = read("   your guess: ")
        if not text.strip():
            return None
        try:
            return parse_answer(item, text)
        except UserError as error:
            console.print(f"   {error}; an empty line skips")


def run(stage: Stage, root: Path, answers: list[str] | None, reveal: bool, interactive: bool) -> int:
    """Ask or print every question; the exit status is 0 whatever was guessed."""
    items = stage.manifest.predict
    sources = (
        (recorded(root), recorded_samples(root)),
        (measured_here(root), recorded_samples(root, LOCAL)),
    )
    if answers is not None and len(answers) != len(items):
        raise UserError(f"--answers: {len(answers)} given, stage {stage.nn} asks {len(items)} questions")
    heading(f"{stage.nn} {stage.title}: predict before you run")
    right = asked = 0
    for number, item in enumerate(items, start=1):
        show_question(number, item)
        answer: Value | None = None
        if answers is not None:
            answer = parse_answer(item, answers[number - 1])
        elif interactive and not reveal:
            answer = ask(item, input)
        if answer is not None or reveal or interactive:
            result = score(item, answer if answer is not None else "", *sources)
            show_score(item, answer, result)
            asked += answer is not None and (result.recorded is not None or result.local is not None)
            right += answer is not None and result.right
    console.print()
    if asked:
        show(Text(f"{right} of {asked} right", style="bold"))
    elif not items:
        console.print("This stage has no questions.")
    if not interactive and answers is None and not reveal and items:
        note("--answers A,B,... scores your guesses; --reveal shows the answers.")
    note(
        f"To score against your own machine: make bench-{stage.nn} ARGS='--results {LOCAL}', then predict again."
    )
    return 0


def main(argv: list[str]) -> int:
    parser = Parser(prog="python -m common.tutorial predict", description=HELP, allow_abbrev=False)
    parser.add_argument("stage", metavar="NN")
    parser.add_argument("--answers", metavar="A,B", help="score these answers, one per question")
    parser.add_argument("--reveal", action="store_true", help="show questions and answers")
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository (this one)")
    args = parser.parse_args(argv)
    answers = args.answers.split(",") if args.answers is not None else None
    interactive = sys.stdin.isatty() and answers is None
    return run(find_stage(args.stage, args.root), args.root, answers, args.reveal, interactive)
