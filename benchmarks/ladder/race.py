"""Rounds over all sides: A B C, A B C, ... so that a noisy minute hits all of them alike.

Each measurement is a process and leaves a JSON file, "2-s03.json" for stage 03 in round 2, in a folder whose name stands
for the arguments and the code. So running the same command again continues from the files that are there.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.bench.machine import ROOT
from common.terminal.console import note, progress

from .task import Job, Unit

__all__ = ["LONG", "RUNS", "Answers", "Race", "ask", "code_of_sides"]

LONG = 60.0  # seconds: a job that takes longer runs in the first round only
RUNS = Path(__file__).parent / ".runs"
_CODE = ("common/*.py", "common/bench/*.py", "common/models/*.py", "stages/*/engine/*.py", "benchmarks/sides.py",
         "benchmarks/ladder/*.py", "benchmarks/peers/*.py")  # fmt: skip


def code_of_sides(root: Path = ROOT) -> str:
    """A hash of everything that a side's speed or tokens depend on."""
    digest = hashlib.sha256()
    for path in sorted(path for pattern in _CODE for path in root.glob(pattern)):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def ask(task: dict[str, Any], into: Path) -> dict[str, Any]:
    """Have a task done by a process, whose answer is kept in `into`; {"failed": why} where it ended without one."""
    threads = task["setup"]["threads"]
    # The variable is for libraries that do not ask torch.
    environ = os.environ | ({"OMP_NUM_THREADS": str(threads)} if threads else {})
    into.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "task.json").write_text(json.dumps(task), encoding="utf-8")
        with open(Path(folder) / "log", "w+", encoding="utf-8", errors="replace") as log:
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.ladder.measure", f"{folder}/task.json", str(into)], cwd=ROOT,
                env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False,
                start_new_session=True,  # Ctrl-C is ours to answer: the process is ended, and leaves no file
            )  # fmt: skip
            if not into.is_file():
                log.seek(0)
                words = [line.strip() for line in log.read().splitlines() if line.strip()]
                last = f": {words[-1][:200]}" if words else ""
                failed = {"failed": f"its process ended with status {done.returncode}{last}"}
                into.write_text(json.dumps(failed), encoding="utf-8")
    return read(into) or {}


def read(path: Path) -> dict[str, Any] | None:
    """An answer; None where there is none, or a damaged one."""
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        path.unlink(missing_ok=True)
        return None
    return found


class Answers:
    """The files of one run. key: all that must be the same for measurements to belong to it."""

    def __init__(self, name: str, key: Mapping[str, Any], root: Path = RUNS):
        text = json.dumps(key, sort_keys=True, default=str)
        self.folder = root / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    def __len__(self) -> int:
        return len(list(self.folder.glob("[0-9]*.json")))

    def get(self, name: str) -> dict[str, Any] | None:
        return read(self.folder / f"{name}.json")

    def once(self, name: str, ask: Callable[[Path], dict[str, Any]]) -> dict[str, Any]:
        """The answer of that name; asked for if it is not there."""
        return self.get(name) or ask(self.folder / f"{name}.json")

    def of(self, unit: Unit) -> Iterator[dict[str, Any]]:
        """A unit's answers, in the order of the rounds."""
        turns = sorted(
            int(path.name.partition("-")[0]) for path in self.folder.glob(f"[0-9]*-{unit.key}.json")
        )
        return filter(None, (self.get(f"{turn}-{unit.key}") for turn in turns))

    def forget(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


class Race:
    """Units, each measured once a round. One that failed or wrote wrong tokens is not measured again."""

    def __init__(self, units: Sequence[Unit], rounds: int, answers: Answers, expected: dict[str, list[list[int]]],
                 ask: Callable[[dict[str, Any], Path], dict[str, Any]] = ask):  # fmt: skip
        self.units, self.rounds, self.answers, self.expected, self.ask = units, rounds, answers, expected, ask

    def run(self, after: Callable[[], None] = lambda: None) -> None:
        """Measures what is not measured yet. after: called when there is a new answer."""
        with progress("measurements", self.rounds * len(self.units)) as advance:
            for turn in range(1, self.rounds + 1):
                for unit in self.units:
                    if not self.through(turn, unit):
                        task = unit.task(self.due(unit), self.expected)
                        self.ask(task, self.answers.folder / f"{turn}-{unit.key}.json")
                        if why := self.out(unit):
                            note(f"{unit.label} is out: {why}")
                        after()
                    advance()

    def through(self, turn: int, unit: Unit) -> bool:
        """Whether a unit is done with a round, or has no part in it."""
        there = self.answers.get(f"{turn}-{unit.key}") is not None
        return there or bool(self.out(unit)) or not self.due(unit)

    def due(self, unit: Unit) -> list[Job]:
        """The jobs that another round has: not those that took long, or were left out because they would."""
        past = list(self.answers.of(unit))
        return [
            job
            for job in unit.jobs
            if not any(
                a.get("seconds", {}).get(job.name, 0.0) > LONG or job.name in a.get("skipped", {})
                for a in past
            )
        ]

    def out(self, unit: Unit) -> str:
        """Why a unit is not measured any more; "": it is."""
        for answer in self.answers.of(unit):
            if "wrong" in answer:
                return f"wrong tokens: {answer['wrong']}"
            if "failed" in answer:
                return str(answer["failed"])
        return ""

    @property
    def complete(self) -> int:
        """Rounds that every side has been through."""
        turns = range(1, self.rounds + 1)
        return next(
            (turn - 1 for turn in turns if not all(self.through(turn, u) for u in self.units)), self.rounds
        )
