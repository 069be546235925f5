"""`make trace-NN`: the worked example on a stage's engine, step by step; also for `check-NN` and `diff-NN TRACE=1`.

Traces are committed as `trace.txt` beside each stage and compared by a test, so that articles may quote
them. The work is done in `common.tutorial.learner.tracing`.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from common.errors import UserError
from common.terminal.command_line import Parser
from common.tutorial.chain import ROOT, Stage, find_stage, load_stage, stages
from common.tutorial.learner.attempt import find_attempt
from common.tutorial.learner.tracing import compare, drive, scenario, show
from common.tutorial.learner.tracing.recorder import Step

__all__ = ["check_attempt", "check_trace", "engine_at", "main", "side_by_side", "text"]


def engine_of(stage: Stage) -> ModuleType:
    load_stage(stage.number)
    return importlib.import_module(f"{stage.package}.engine")


def engine_at(folder: Path) -> ModuleType:
    """The engine in `folder`/engine, a learner's say, imported under a name of its own and afresh."""
    name = f"attempt_{folder.name}_engine"
    for loaded in [key for key in sys.modules if key == name or key.startswith(f"{name}.")]:
        del sys.modules[loaded]
    init = folder / "engine" / "__init__.py"
    spec = importlib.util.spec_from_file_location(name, init, submodule_search_locations=[str(init.parent)])
    if spec is None or spec.loader is None or not init.exists():
        raise UserError(f"{folder.name}/engine/__init__.py does not exist")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


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


def check_attempt(number: int, folder: Path) -> str | None:
    """`check_trace` for the engine in `folder`; an engine that cannot be imported is a deviation too."""
    try:
        engine = engine_at(folder)
    except Exception as error:
        return f"before the first step: {type(error).__name__}: {error}"
    return check_trace(number, engine)


def _crash(mine: list[Step], error: Exception) -> str:
    where = traceback.extract_tb(error.__traceback__)[-1]
    who = f"step {len(mine)}, request {mine[-1].parts[0].request}" if mine else "before the first step"
    return f"{who}: {type(error).__name__}: {error} ({where.filename.rsplit('/', 1)[-1]}:{where.lineno})"


def show_mine(stage: Stage) -> int:
    """The learner's trace as far as it goes, then the first deviation. 1 where there is one."""
    folder, _ = find_attempt(stage, ROOT)
    example, steps = scenario.shipped(), list[Step]()
    with contextlib.suppress(Exception):  # check_attempt says what it was
        drive.run(engine_at(folder), example, steps)
    print(show.trace_text(f"The worked example, stage {stage.nn}, on work/{folder.name}", example, steps))
    found = check_attempt(stage.number, folder)
    print(f"leaves ours at {found}" if found else "equal to ours, step by step")
    return 1 if found else 0


def main(argv: Sequence[str] | None = None) -> int:
    parser = Parser(prog="python -m common.tutorial trace", description=__doc__)
    parser.add_argument("number", nargs="?", metavar="NN", help="the stage")
    parser.add_argument("--model", default=scenario.MODEL, help="another checkpoint (%(default)s)")
    parser.add_argument("--mine", action="store_true", help="your engine in work/, and where it leaves ours")
    parser.add_argument(
        "--write", action="store_true", help="maintainers: rewrite trace.txt of NN, or of all"
    )
    args = parser.parse_args(argv)
    if args.number is None and (args.mine or not args.write):
        raise UserError("which stage? trace NN, with NN from 01 on")
    if args.mine:
        return show_mine(find_stage(args.number))
    for stage in [find_stage(args.number)] if args.number else stages():
        shown = text(stage.number, args.model)
        if args.write:
            (stage.folder / "trace.txt").write_text(shown, encoding="utf-8", newline="\n")
            print(f"wrote stages/{stage.folder.name}/trace.txt")
        else:
            print(shown, end="")
    return 0
