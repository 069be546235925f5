"""`make mutate-NN`: how many small faults in a stage's engine do the stage's own tests notice?

Works in a copy of the project, one fault at a time, and leaves the tree alone. Where a stage's tests notice nothing and
the line is older than the stage, the same fault is planted in the stages before that have it too, and their tests are
asked. A fault that is not noticed anywhere is either a missing test or harmless; which of them, a person must say. For
maintainers: it takes minutes, and CI does not run it.
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
from common.tutorial.chain import ROOT, Stage, find_stage, neighbour
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


def choose(
    stage: Stage, names: list[str] | None, count: int, seed: int, only: list[int] | None = None
) -> tuple[list[Planted], int]:
    """-> (the sample, or those asked for by number, how many there are). Raises UserError for a file that is not there."""
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
    chosen_numbers = sorted(sample) if only is None else [n for n in only if 0 <= n < len(pool)]
    return [Planted(number, *pool[number]) for number in chosen_numbers], len(pool)


def earlier(one: Planted, stage: Stage, root: Path) -> list[tuple[Stage, Planted]]:
    """The same fault in the stages before that have the line, the one that brought it first: it has a test, if any has."""
    wanted = (one.mutant.kind, *one.mutant.lines(one.source))
    found: list[tuple[Stage, Planted]] = []
    before = neighbour(stage, -1, root)
    while before and (file := before.engine / one.path).is_file():
        source = file.read_bytes()
        same = [m for m in mutants(source) if (m.kind, *m.lines(source)) == wanted]
        if not same:
            break
        found.append((before, Planted(one.number, one.path, source, same[0])))
        before = neighbour(before, -1, root)
    return found[::-1]


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


class Tests:
    """Test runs in a copy of the project."""

    def __init__(self, tree: Path, contract: bool):
        self.tree, self.contract = tree, contract
        self.limits: dict[str, float] = {}  # seconds, by the run

    def suites(self, stage: Stage, root: Path) -> list[list[str]]:
        own = f"{stage.folder.relative_to(root).as_posix()}/test_stage.py"
        return [[own], *([["tests/contract", "--stage", stage.nn]] if self.contract else [])]

    def limit(self, tests: list[str]) -> float:
        """Measured once, on the engine as it is. Raises UserError where that fails."""
        name = " ".join(tests)
        if name not in self.limits:
            began = time.monotonic()
            if not passes(self.tree, tests, None):
                raise UserError(f"{name} fails without any fault: fix that first")
            self.limits[name] = 3 * (time.monotonic() - began) + SPARE
        return self.limits[name]

    def notice(self, stage: Stage, root: Path, one: Planted) -> bool:
        """Plants the fault, runs the stage's tests, and takes it out again."""
        suites = self.suites(stage, root)
        limits = [self.limit(tests) for tests in suites]
        file = self.tree / stage.engine.relative_to(root) / one.path
        file.write_bytes(one.mutant.apply(one.source))
        try:
            return not all(passes(self.tree, *run) for run in zip(suites, limits, strict=True))
        finally:
            file.write_bytes(one.source)


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
    parser.add_argument("--only", nargs="+", type=int, metavar="NUMBER", help="these faults, by number")
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
    chosen, there = choose(stage, args.files, args.count, args.seed, args.only)
    heading(f"{stage.nn} {stage.title}: {len(chosen)} of {there} possible faults")
    if args.list:
        for one in chosen:
            show_change(one, "bold")
        return 0
    survivors, older = [], 0
    with copied(args.root, args.keep) as tree:
        tests = Tests(tree, args.contract)
        for one in chosen:
            if tests.notice(stage, args.root, one):
                show(Text(f"{one}  noticed", style="bright_black"))
                continue
            who = next(
                (s for s, same in earlier(one, stage, args.root) if tests.notice(s, args.root, same)), None
            )
            if who:
                show(Text(f"{one}  noticed by stage {who.nn}, which has the line too", style="bright_black"))
                older += 1
                continue
            survivors.append(one)
            show_change(one, "bold red")
            if args.keep:
                folder = stage.engine.relative_to(args.root).as_posix()
                (tree / f"survivor-{one.number}.diff").write_text(one.diff(folder), "utf-8")
        if args.keep:
            note(f"The copy: {tree}")
    noticed = len(chosen) - len(survivors)
    share = 100 * noticed / max(len(chosen), 1)
    where = f", {older} of them by the tests of an earlier stage" if older else ""
    show(Text(f"{noticed} of {len(chosen)} faults noticed: {share:.0f} %{where}", style="bold"))
    if share < args.bar:
        note("Each of the others is harmless for a reason, or needs a test.")
        return 1
    return 0
