"""`make predict-NN`: the stage's questions, asked before it is run, and scored against what was measured.

Without a terminal the questions are printed, and `--answers` scores given ones. Two results count: the
recorded one, and a local one where `work/results/` has it. Either makes an answer right.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.text import Text

from common.errors import UserError
from common.terminal.command_line import Parser
from common.terminal.console import console, heading, note, show
from common.tutorial.chain import ROOT, Stage, find_stage
from common.tutorial.chain.claims import Lookup, Value, evaluate, measured_here, recorded
from common.tutorial.chain.manifest import Prediction

__all__ = ["HELP", "Score", "main", "parse_answer", "right_answer", "score"]

HELP = "the stage's questions, asked before the run and scored against the results"
LOCAL = "work/results"


@dataclass(frozen=True, slots=True)
class Score:
    """How one answer did. `recorded` and `local` are None where there is no such result."""

    right: bool
    recorded: Value | None
    local: Value | None


def right_answer(item: Prediction, value: Value) -> Value:
    """What would have been right: one of the choices where there are any, else the value itself."""
    if not item.choices or isinstance(value, str):
        return value
    return min(item.choices, key=lambda choice: _distance(float(choice), float(value)))


def _distance(choice: float, value: float) -> float:
    """By ratio where both are positive: 2 is as far from 4 as 8 is."""
    return abs(math.log(choice / value)) if choice > 0 and value > 0 else abs(choice - value)


def is_right(item: Prediction, answer: Value, value: Value) -> bool:
    if item.choices or isinstance(value, str) or isinstance(answer, str):
        return answer == right_answer(item, value)
    return abs(answer - value) <= item.tolerance * abs(value) + 1e-12


def score(item: Prediction, answer: Value, r: Lookup, local: Lookup) -> Score:
    """Compare `answer` with what is recorded and with the local result."""
    values = [_value(item, lookup) for lookup in (r, local)]
    right = any(value is not None and is_right(item, answer, value) for value in values)
    return Score(right, *values)


def _value(item: Prediction, lookup: Lookup) -> Value | None:
    try:
        return evaluate(item.answer, lookup)
    except UserError:
        return None


def parse_answer(item: Prediction, text: str) -> Value:
    """A letter or a choice itself where there are choices, else a number, its unit allowed after it."""
    text = text.strip()
    letters = _letters(item)
    if item.choices:
        named = dict(zip(letters, item.choices, strict=True))
        for name, choice in [*named.items(), *((str(choice), choice) for choice in item.choices)]:
            if text.lower() == name.lower():
                return choice
        raise UserError(f"answer {text!r}: there are {', '.join(letters)}")
    try:
        return float(text.removesuffix(item.unit).replace(",", ""))
    except ValueError:
        raise UserError(f"answer {text!r}: a number is asked for{_in(item)}") from None


def _letters(item: Prediction) -> list[str]:
    return [chr(ord("a") + i) for i in range(len(item.choices))]


def _in(item: Prediction) -> str:
    return f" in {item.unit}" if item.unit else ""


def show_question(number: int, item: Prediction) -> None:
    console.print()
    show(Text.assemble((f"{number}. ", "bold"), item.question))
    for letter, choice in zip(_letters(item), item.choices, strict=True):
        console.print(f"   {letter}) {_shown(item, choice)}")
    if not item.choices:
        note(f"   a number{_in(item)}" + ("" if not item.tolerance else f", within {item.tolerance:.0%}"))


def _shown(item: Prediction, value: Value) -> str:
    if isinstance(value, str | bool):
        return str(value)
    return f"{value:.4g} {item.unit}".strip()


def show_score(item: Prediction, answer: Value | None, result: Score) -> None:
    known = [("recorded", result.recorded), ("here", result.local)]
    facts = [f"{name}: {_shown(item, value)}" for name, value in known if value is not None]
    if answer is not None and facts:
        mark = ("   right  ", "bold green") if result.right else ("   not so  ", "bold red")
        show(Text.assemble(mark, ", ".join(facts)))
    else:
        console.print("   " + (", ".join(facts) or "no result yet: run the stage's benchmark"))
    note(f"   {item.why}")


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
    r, local = recorded(root), measured_here(root)
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
            result = score(item, answer if answer is not None else "", r, local)
            show_score(item, answer, result)
            asked += answer is not None and (result.recorded is not None or result.local is not None)
            right += answer is not None and result.right
    console.print()
    if asked:
        show(Text(f"{right} of {asked} right", style="bold"))
    elif not items:
        console.print("this stage asks nothing")
    if not interactive and answers is None and not reveal and items:
        note("Guess with --answers A,B,...; --reveal shows the answers.")
    note(f"Measure here: make bench-{stage.nn} ARGS='--results {LOCAL}', then ask again.")
    return 0


def main(argv: list[str]) -> int:
    parser = Parser(prog="python -m common.tutorial predict", description=HELP, allow_abbrev=False)
    parser.add_argument("stage", metavar="NN")
    parser.add_argument("--answers", metavar="A,B", help="score these answers, one for each question")
    parser.add_argument("--reveal", action="store_true", help="show questions and answers")
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository (this one)")
    args = parser.parse_args(argv)
    answers = args.answers.split(",") if args.answers is not None else None
    interactive = sys.stdin.isatty() and answers is None
    return run(find_stage(args.stage, args.root), args.root, answers, args.reveal, interactive)
