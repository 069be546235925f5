"""A learner's attempt at a stage: a folder in work/ with the previous stage's engine and this stage's tests.

The same assembly, in a temporary folder, is what proves in CI that a stage's promises are not yet kept by the
engine before it. What a learner sees of it is for `trycheck` and `check`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path

from common.errors import UserError
from common.tutorial.chain import Stage, neighbour
from common.tutorial.chain.source import IGNORED_FOLDERS, engine_files
from common.tutorial.learner.interface import interface

__all__ = ["Attempt", "assemble", "attempt_folder", "find_attempt", "save_attempt", "start_attempt", "task"]

STATE = ".attempt.json"
COPIED = ("__init__.py", "__main__.py", "bench.py", "test_stage.py", "exercises", "lesson")


@dataclass(slots=True)
class Attempt:
    """What we remember about an attempt, in its .attempt.json."""

    stage: int
    hints: int = 0  # how many have been shown
    given: dict[str, str] = field(default_factory=dict)  # path -> hash of the file as we laid it out


def attempt_folder(stage: Stage, root: Path) -> Path:
    return root / "work" / stage.folder.name


def assemble(stage: Stage, previous: Stage | None, target: Path) -> None:
    """Lay out `stage` at `target` with the engine of `previous` (its own where there is none), without solutions.

    The stages' shared fixtures come along as the attempt's own conftest.py.
    """
    ignore = shutil.ignore_patterns("solution_*", "*.pyc", *IGNORED_FOLDERS)
    target.mkdir(parents=True)
    for name in COPIED:
        source = stage.folder / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=ignore)
        elif source.exists():
            shutil.copy2(source, target / name)
    shutil.copytree((previous or stage).engine, target / "engine", ignore=ignore)
    fixtures = stage.folder.parent / "conftest.py"
    if fixtures.exists():
        shutil.copy2(fixtures, target / "conftest.py")


def start_attempt(stage: Stage, root: Path) -> Path:
    """A fresh attempt; the folder must not exist yet."""
    folder = attempt_folder(stage, root)
    previous = neighbour(stage, -1, root)
    assemble(stage, previous, folder)
    (folder / "TASK.md").write_text(task(stage, previous), encoding="utf-8")
    save_attempt(folder, Attempt(stage.number, given=hashes(folder)))
    return folder


def find_attempt(stage: Stage, root: Path) -> tuple[Path, Attempt]:
    """The attempt's folder and what we remember. Raises UserError where there is none."""
    folder = attempt_folder(stage, root)
    if not folder.is_dir():
        raise UserError(f"work/{folder.name} does not exist: make try-{stage.nn} sets it up")
    try:
        return folder, Attempt(**json.loads((folder / STATE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return folder, Attempt(stage.number)


def save_attempt(folder: Path, attempt: Attempt) -> None:
    (folder / STATE).write_text(json.dumps(asdict(attempt)), encoding="utf-8")


def hashes(folder: Path) -> dict[str, str]:
    files = engine_files(folder)
    return {path: hashlib.sha256(text.encode()).hexdigest()[:16] for path, text in files.items()}


def touched(folder: Path, attempt: Attempt) -> list[str]:
    """Paths that differ from what we laid out: the learner's work."""
    now = hashes(folder)
    return sorted(path for path in {*now, *attempt.given} if now.get(path) != attempt.given.get(path))


def task(stage: Stage, previous: Stage | None) -> str:
    """The attempt's TASK.md: what to build, its interface, the promises, the commands, the exercises."""
    manifest, nn = stage.manifest, stage.nn
    begin = (
        f"`engine/` here is stage {previous.nn}'s. Change it so that it keeps the promises below."
        if previous
        else "This is the first stage: `engine/` is complete, the exercises are yours."
    )
    promises = [
        f"{number}. {promise(name)} (`{name}`)" for number, name in enumerate(manifest.proves, start=1)
    ]
    files = [
        f"- `engine/{path}` ({manifest.diff.kind(path)})"
        + (f": {manifest.diff.why[path]}" if path in manifest.diff.why else "")
        for path in manifest.diff.files
    ]
    lines = [f"# {nn} {stage.title}", "", f"**{manifest.question}** {manifest.idea}", "", begin, ""]
    if promises:
        lines += ["## Promises", "", *promises, ""]
    if previous:
        lines += [
            "## Interface", "",
            "The tests, the demo and the benchmark use these names, and nothing else of what is new here. The rest is",
            "up to you.", "",
            *interface(stage, previous),
            "Whatever a caller can cause (a prompt too long, a value out of range) raises `common.errors.UserError`; other",
            "errors are named above. Tests look at the kind of an error and at what is left after it, never at its words.",
            "", "## Files in our solution", "", *files, "",
        ]  # fmt: skip
    if exercises := exercise_files(stage):
        lines += [
            "## Exercises", "", f"Edit the copies here: `make check-{nn}` runs these, not the ones in `stages/`.", "",
            *(f"- `work/{stage.folder.name}/exercises/{name}`" for name in exercises), "",
        ]  # fmt: skip
    lines += [
        "## Commands", "",
        f"- `make check-{nn}`: which promises are kept, and what is wrong with the others; once all are kept, the other tests",
        f"- `make check-{nn} ONLY=2`: promise 2 alone; `ONLY=word` for every test with that word in its name",
        f"- `make try-{nn} HINT=1`: the next hint",
        f"- `python -m work.{stage.folder.name} --help`: the demo on your engine",
        f"- `make diff-{nn} MINE=1`: your engine beside ours, when you are done", "",
    ]  # fmt: skip
    return "\n".join(lines)


def exercise_files(stage: Stage) -> list[str]:
    return sorted(path.name for path in (stage.folder / "exercises").glob("ex[0-9]*.py"))


def promise(test: str) -> str:
    """`test_mixed_lengths_equal_solo_runs` as people say it."""
    return test.removeprefix("test_").replace("_", " ")
