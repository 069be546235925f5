"""`make bench-NN`, `make serve-NN`, `make chat`: start one module of a stage with the flags given.

`make bench` alone is the ladder over all stages, `benchmarks.run`.
"""

from __future__ import annotations

import subprocess
import sys

from common.errors import UserError
from common.tutorial.chain import ROOT, Stage, find_stage, stages
from common.tutorial.learner.run import run_module

__all__ = ["main"]

PARTS = {  # command: (file below the stage's folder, its module, what the file is)
    "bench": ("bench.py", "bench", "a benchmark"),
    "serve": ("engine/server/__main__.py", "engine.server", "an HTTP server"),
    "chat": ("engine/client.py", "engine.client", "a chat client"),
}


def having(command: str) -> list[Stage]:
    """The stages that have what `command` starts."""
    return [stage for stage in stages() if (stage.folder / PARTS[command][0]).exists()]


def choose(command: str, which: str | None) -> Stage:
    """The stage asked for, or the newest. Raises UserError naming the stages that have that part."""
    stage = None if which is None else find_stage(which)
    able = having(command)
    what = PARTS[command][2]
    if not able:
        raise UserError(f"{command}: no stage has {what} yet")
    if stage is not None and stage not in able:
        raise UserError(f"stage {stage.nn} does not have {what}; these do: {', '.join(s.nn for s in able)}")
    return stage or able[-1]


def bench_all(flags: list[str]) -> int:
    """Every stage's benchmark in a process of its own, so that none inherits another's memory or caches."""
    failed = []
    for stage in having("bench"):
        print(f"== bench-{stage.nn} {stage.title}", flush=True)
        command = [sys.executable, "-m", f"{stage.package}.bench", *flags]
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            failed.append(stage.nn)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def main(argv: list[str]) -> int:
    """`argv`: bench [NN | all] | serve NN | chat [NN], then the module's own flags."""
    command, *rest = argv
    which = rest.pop(0) if rest and not rest[0].startswith("-") else None
    if command == "bench" and which is None:
        return run_module("benchmarks.run", rest)
    if command == "bench" and which == "all":
        return bench_all(rest)
    if command == "serve" and which is None:
        raise UserError("serve: which stage? For example: serve 04")
    stage = choose(command, which)
    return run_module(f"{stage.package}.{PARTS[command][1]}", rest)
