"""`make mutate-NN`: how many small faults in a stage's engine do the stage's own tests notice?

Works in a copy of the project, one fault at a time, and leaves the tree alone. A fault that is not noticed is either a
missing test or harmless; which of them, a person must say. For maintainers: it takes minutes, and CI does not run it.
"""

from __future__ import annotations

import argparse
import difflib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from rich.text import Text

from common.errors import UserError
from common.terminal.command_line import Parser
from common.terminal.console import heading, note, show
from common.tutorial.chain import ROOT, Stage, find_stage
from common.tutorial.chain.mutants import Mutant, mutants

__all__ = ["HELP", "main"]

HELP = "plant small faults in a stage's engine, one at a time, and count those that its tests notice"
NOT_COPIED = (".*", "work", "__pycache__", "*.egg-info")
SPARE = 30  # seconds a run may take beyond three times that of the engine as it is


@dataclass(frozen=True, slots=True)
class Planted:
    """A mutant of one file of the engine."""

    number: int
    path: str  # below engine/
    source: bytes
    mutant: Mutant

    def __str__(self) -> str:
        return f"{self.number:>3}  {self.path}:{self.mutant.line}  {self.mutant.kind}"

    def diff(self, engine: str) -> str:
        """As `git apply` takes it."""
        before, after = (
            text.decode().splitlines(keepends=True) for text in (self.source, self.mutant.apply(self.source))
        )
        return "".join(
            difflib.unified_diff(before, after, f"a/{engine}/{self.path}", f"b/{engine}/{self.path}")
        )


def choose(stage: Stage, names: list[str] | None, count: int, seed: int) -> tuple[list[Planted], int]:
    """-> (the sample, how many there are). Raises UserError for a file that is not there."""
    diff = stage.manifest.diff
    chosen = names or [
        path for path in diff.files if diff.kind(path) != "removed" and not path.endswith("__init__.py")
    ]
    pool = []
    for path in sorted({path for path in chosen if path.endswith(".py")}):
        file = stage.engine / path
        if not file.is_file():
            there = ", ".join(
                sorted(p.relative_to(stage.engine).as_posix() for p in stage.engine.rglob("*.py"))
            )
            raise UserError(f"--files {path}: the engine of stage {stage.nn} has {there}")
        source = file.read_bytes()
        pool += [(path, source, mutant) for mutant in mutants(source)]
    sample = random.Random(seed).sample(range(len(pool)), min(count, len(pool)))
    return [Planted(number, *pool[number]) for number in sorted(sample)], len(pool)


@contextmanager
def copied(root: Path, keep: bool) -> Iterator[Path]:
    """A copy of the project without what git or a virtual environment keeps; gone at the end, unless it is kept."""
    folder = Path(tempfile.mkdtemp(prefix="vitrine-mutants-"))
    try:
        shutil.copytree(root, folder / "tree", ignore=shutil.ignore_patterns(*NOT_COPIED), symlinks=True)
        yield folder / "tree"
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def passes(tree: Path, tests: list[str], seconds: float | None) -> bool:
    """Whether the tests pass in time. Whatever they started ends with them."""
    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--import-mode=importlib"]
    with tempfile.TemporaryFile() as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "pytest", *options, *tests], cwd=tree, stdout=output, stderr=output,
            env={**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}, start_new_session=True,
        )  # fmt: skip
        try:
            return child.wait(seconds) == 0
        except subprocess.TimeoutExpired:
            return False
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = Parser(prog="python -m common.tutorial mutate", description=HELP, allow_abbrev=False)
    parser.add_argument("stage", metavar="NN")
    parser.add_argument("--count", type=int, default=40, help="how many faults, drawn at random (40)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw (0)")
    parser.add_argument(
        "--files", nargs="+", metavar="FILE", help="files of engine/ (those that the stage adds or changes)"
    )
    parser.add_argument(
        "--contract",
        action="store_true",
        help="try the contract suite where the stage's own tests notice nothing",
    )
    parser.add_argument("--bar", type=float, default=85, help="exit with 1 below this many per cent (85)")
    parser.add_argument("--list", action="store_true", help="only show the faults")
    parser.add_argument(
        "--keep", action="store_true", help="leave the copy, with a .diff for each fault that was not noticed"
    )
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository (this one)")
    return parser.parse_args(argv)


def show_change(one: Planted, style: str) -> None:
    old, new = one.mutant.lines(one.source)
    show(Text(f"{one}", style=style))
    show(Text(f"       - {old}\n       + {new}"))


def main(argv: list[str]) -> int:
    args = arguments(argv)
    stage = find_stage(args.stage, args.root)
    chosen, there = choose(stage, args.files, args.count, args.seed)
    heading(f"{stage.nn} {stage.title}: {len(chosen)} of {there} possible faults")
    if args.list:
        for one in chosen:
            show_change(one, "bold")
        return 0
    folder = stage.folder.relative_to(args.root).as_posix()
    suites = [[f"{folder}/test_stage.py"]]
    if args.contract:
        suites.append(["tests/contract", "--stage", stage.nn])
    survivors = []
    with copied(args.root, args.keep) as tree:
        limits = []
        for tests in suites:
            began = time.monotonic()
            if not passes(tree, tests, None):
                raise UserError(f"{' '.join(tests)} fails without any fault: mend that first")
            limits.append(3 * (time.monotonic() - began) + SPARE)
        for one in chosen:
            file = tree / folder / "engine" / one.path
            file.write_bytes(one.mutant.apply(one.source))
            unnoticed = all(passes(tree, *run) for run in zip(suites, limits, strict=True))
            file.write_bytes(one.source)
            if unnoticed:
                survivors.append(one)
                show_change(one, "bold red")
                if args.keep:
                    (tree / f"survivor-{one.number}.diff").write_text(one.diff(f"{folder}/engine"), "utf-8")
            else:
                show(Text(f"{one}  noticed", style="bright_black"))
        if args.keep:
            note(f"The copy: {tree}")
    noticed = len(chosen) - len(survivors)
    share = 100 * noticed / max(len(chosen), 1)
    show(Text(f"{noticed} of {len(chosen)} faults noticed: {share:.0f} %", style="bold"))
    if share < args.bar:
        note("Each of the others is harmless for a reason, or wants a test.")
        return 1
    return 0
