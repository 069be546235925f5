"""What did each stage buy, and where do we stand? `make bench`, or `python -m benchmarks.run`.

This file has the order of things: who takes part, what they must write, rounds over all of them, the result. The parts
are in `benchmarks.ladder`; the load generator for servers is `benchmarks.serving`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.checkpoints import checkpoint
from common.bench.machine import machine_folder
from common.bench.results import RESULTS, refuse_quick
from common.errors import UserError
from common.loader import resolve_device, resolve_dtype
from common.terminal.command_line import run
from common.terminal.console import heading, note, warn, write

from .ladder import contest, screen
from .ladder.contest import Contestant
from .ladder.options import parse
from .ladder.race import Answers, Race, ask, code_of_sides
from .ladder.record import result_of
from .ladder.study import Study, make_study

PLOTS = Path(__file__).parent / "plots"  # of runs that are not recorded


def main(argv: Sequence[str] | None = None) -> int:
    args = parse(sys.argv[1:] if argv is None else argv)
    if args.figure:
        folder = args.results or RESULTS / machine_folder()
        return draw(folder, into_of(folder))
    if args.quick and args.results:
        refuse_quick(args.results)
    if args.commit:
        os.environ["VITRINE_COMMIT"] = args.commit
    study = prepare(args)
    answers = Answers(study.result, key_of(study))
    if args.fresh:
        answers.forget()
    try:
        race, machine = begin(args, study, answers)
        race.run(after=lambda: save(study, race, machine, args))
    except KeyboardInterrupt:
        sys.stderr.write(
            "\nstopped; what was measured is kept: the same command goes on, --fresh starts over\n"
        )
        return 130
    return finish(study, race, machine, args)


def prepare(args: argparse.Namespace) -> Study:
    """Who takes part in what. Raises UserError for whatever cannot be."""
    numbers = contest.choose_stages(args.stages)
    device = str(resolve_device(args.device))
    dtype = str(resolve_dtype(args.dtype, resolve_device(device))).removeprefix("torch.")
    folder = checkpoint(args.model, dtype)
    if args.kind == "memory":
        names, out = list[str](), dict[str, str]()  # what a library takes is told by the ladder
    else:
        only, mixed = contest.QUICK if args.quick else (), args.kind == "reference"
        names, out = contest.choose_peers(args.peers, folder, device, dtype, only, mixed)
    if args.kind != "ladder":
        numbers = contest.for_batches(numbers, explicit=args.stages != "all", continuous=args.kind != "batch")
    who = [*map(Contestant.stage, numbers), *map(Contestant.peer, names)]
    study = make_study(args, folder, device, dtype, who, out)
    study.code = code_of_sides()
    return study


def key_of(study: Study) -> dict[str, Any]:
    """What must be the same for two runs to be one. Not who takes part: more sides may join."""
    return {"code": study.code, "about": study.about, "seed": study.seed, "threads": study.setup.threads,
            "room": asdict(study.setup.room)}  # fmt: skip


def begin(args: argparse.Namespace, study: Study, answers: Answers) -> tuple[Race, dict[str, Any]]:
    """What the machine can do, and the tokens that all must write; both are asked for once."""
    setup = asdict(study.setup)
    heading(f"{study.kind}: {', '.join(one.label for one in study.contestants)}")
    if len(answers):
        note(f"going on: {len(answers)} measurements of an interrupted run are there; --fresh starts over")
    note("what memory and arithmetic give")
    machine = answers.once("machine", lambda into: ask({"do": "machine", "setup": setup}, into))
    note(f"the tokens that all must write, by the loop of stage {study.truth:02d}")
    task = {
        "do": "expect",
        "side": f"s{study.truth:02d}",
        "setup": setup,
        "jobs": list(map(asdict, study.asked)),
    }
    expected = answers.once("expected", lambda into: ask(task, into))
    for answer in (machine, expected):
        if "failed" in answer:
            answers.forget()
            raise UserError(f"nothing can be compared: {answer['failed']}")
    return Race(study.units(), args.repeats, answers, study.spread(expected)), machine


def recorded(args: argparse.Namespace) -> bool:
    return bool(args.results) or not args.quick


def save(study: Study, race: Race, machine: dict[str, Any], args: argparse.Namespace) -> None:
    """On a GPU all that is known after each answer: the machine may be taken away. A CPU's run can go on."""
    on_gpu = study.setup.device.startswith("cuda")
    if on_gpu and recorded(args) and (result := result_of(study, race, machine)):
        result.save(args.results)


def finish(study: Study, race: Race, machine: dict[str, Any], args: argparse.Namespace) -> int:
    """Shows, records and draws. 1 where a side failed or wrote wrong tokens."""
    result = result_of(study, race, machine)
    bad = [unit for unit in race.units if race.out(unit)]
    if result is None:
        for unit in bad:
            warn(f"{unit.label}: {race.out(unit)}")
        race.answers.forget()
        raise UserError("no side has a number")
    folder = args.results or (RESULTS / machine_folder(study.setup.device) if recorded(args) else PLOTS)
    path = result.save(folder)
    screen.show_result(json.loads(path.read_text(encoding="utf-8")))
    write(f"{'recorded in' if recorded(args) else 'not recorded, but kept in'} {path}", end="\n")
    race.answers.forget()
    draw(path.parent, into_of(folder), [path.stem])
    return 1 if bad else 0


def into_of(results: Path) -> Path | None:
    """Where the figures of a folder of results go: beside them, unless it is one of the project's."""
    return None if results.resolve().parent == RESULTS.resolve() else results


def draw(results: Path, into: Path | None, names: Sequence[str] = ()) -> int:
    """Figures of a folder of results. into: None is where the articles have theirs."""
    if find_spec("matplotlib") is None:
        note("no figure was drawn: matplotlib is missing; python -m pip install matplotlib, then --figure")
        return 0
    from .ladder import figures

    for path in figures.draw_all(results, into or figures.FIGURES, names):
        write(f"drawn {path}", end="\n")
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the process that measures must end with us
    sys.exit(run(main))
