"""`make trace-NN`: the worked example on a stage's engine, step by step; also for `check-NN` and `diff-NN TRACE=1`.

Traces are committed as `trace.txt` beside each stage and compared by a test, so that articles may quote
them. The work is done in `common.tutorial.tracing`.
"""

from __future__ import annotations

import argparse
import importlib
import traceback
from collections.abc import Sequence
from types import ModuleType

from common.errors import UserError
from common.tutorial.chain import Stage, find_stage, load_stage, stages
from common.tutorial.tracing import compare, drive, scenario, show
from common.tutorial.tracing.recorder import Step

__all__ = ["check_trace", "main", "side_by_side", "text"]


def engine_of(stage: Stage) -> ModuleType:
    load_stage(stage.number)
    return importlib.import_module(f"{stage.package}.engine")


def text(number: int, model: str = scenario.MODEL) -> str:
    """What `make trace-NN` prints and `trace.txt` holds."""
    stage, example = find_stage(number), scenario.shipped(model)
    title = f"The worked example, stage {stage.nn}: {stage.title}"
    return show.trace_text(title, example, drive.run(engine_of(stage), example))


def side_by_side(number: int, model: str = scenario.MODEL) -> str:
    """Stage `number` - 1's trace beside `number`'s. Raises UserError where there is no stage before."""
    pair = [find_stage(number - 1), find_stage(number)] if number > 1 else []
    if not pair:
        raise UserError(f"stage {number:02d} has no stage before it to set its trace beside")
    example = scenario.shipped(model)
    left, right = ((f"stage {stage.nn}", drive.run(engine_of(stage), example)) for stage in pair)
    return show.side_by_side(left, right)


def check_trace(number: int, engine: ModuleType, example: scenario.Scenario | None = None) -> str | None:
    """The first place where `engine` leaves stage `number`'s trace, as one line; None where it does not.

    "step 3, request B: position 5, expected 4"; an exception is reported with the step it happened in.
    """
    example = example or scenario.shipped()
    expected = drive.run(engine_of(find_stage(number)), example)
    mine: list[Step] = []
    try:
        drive.run(engine, example, mine)
    except Exception as error:
        before = compare.first_deviation(mine[:-1], expected[: len(mine) - 1]) if mine else None
        return before or _crash(mine, error)
    return compare.first_deviation(mine, expected)


def _crash(mine: list[Step], error: Exception) -> str:
    where = traceback.extract_tb(error.__traceback__)[-1]
    who = f"step {len(mine)}, request {mine[-1].parts[0].request}" if mine else "before the first step"
    return f"{who}: {type(error).__name__}: {error} ({where.filename.rsplit('/', 1)[-1]}:{where.lineno})"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m common.tutorial trace", description=__doc__)
    parser.add_argument("number", nargs="?", metavar="NN", help="the stage")
    parser.add_argument("--model", default=scenario.MODEL, help="another checkpoint (%(default)s)")
    parser.add_argument(
        "--write", action="store_true", help="maintainers: rewrite trace.txt of NN, or of all"
    )
    args = parser.parse_args(argv)
    if args.number is None and not args.write:
        raise UserError("which stage? trace NN, with NN from 01 on")
    for stage in [find_stage(args.number)] if args.number else stages():
        shown = text(stage.number, args.model)
        if args.write:
            (stage.folder / "trace.txt").write_text(shown, encoding="utf-8", newline="\n")
            print(f"wrote stages/{stage.folder.name}/trace.txt")
        else:
            print(shown, end="")
    return 0
