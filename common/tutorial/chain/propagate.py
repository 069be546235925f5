"""`make propagate FROM=05`: carry a fix in one stage's engine forward through all that follow.

Stage after stage, what changed in the one before since BASE is merged in three ways. A conflict stops it:
the files then hold labelled markers, a note in .git remembers the place, and the same command goes on once
they are resolved. The fix itself is never searched for: whatever differs from BASE in FROM is the fix.
"""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from common.errors import UserError
from common.terminal.command_line import Parser, choice
from common.tutorial.chain import ROOT, Stage, find_stage, stages
from common.tutorial.chain.gittree import Engines, consistent_base, engines_at, git, resolve
from common.tutorial.chain.locks import current_locks, moved, read_locks, relock, stage_numbers
from common.tutorial.chain.merge import Labels, Merged, merge_stage
from common.tutorial.chain.source import changed_files, engine_files

__all__ = ["HELP", "main"]

HELP = "carry a fix in one stage's engine forward through all later stages"
MARKERS = re.compile(r"^(<{7}|\|{7}|>{7}) ", flags=re.MULTILINE)


@dataclass(slots=True)
class Journey:
    """A propagation under way; kept in .git while it waits for a conflict to be resolved."""

    start: int
    base: str
    files: list[str] | None = None  # None: every file the fix touches
    at: int = 0  # the last stage that was merged into
    conflicts: list[str] = field(default_factory=list)  # paths below root, of stage `at`


def state_path(root: Path) -> Path:
    return root / git(root, "rev-parse", "--git-path", "vitrine-propagate.json").decode().strip()


def load_state(root: Path) -> Journey | None:
    path = state_path(root)
    return Journey(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None


def begin(root: Path, start: Stage, base: str | None, files: Iterable[str] | None) -> Journey:
    """Find the base and say what the fix is. Raises UserError where there is nothing to carry."""
    later = [stage.folder.name for stage in stages(root) if stage.number > start.number]
    if not later:
        raise UserError(f"FROM={start.nn} is the last stage: there is nothing to carry a fix to")
    commit = resolve(root, base) if base else consistent_base(root, later)
    if commit is None:
        dirty = git(root, "status", "--porcelain", "--", str(start.engine))
        if not dirty:
            raise UserError(
                "no commit has locks that match its code: name the state before the fix with BASE="
            )
        commit = resolve(root, "HEAD")
    before, _ = engines_at(root, commit)
    then, now = _numbered(before).get(start.number, {}), engine_files(start.engine)
    fix = changed_files(then, now)
    wanted = None if files is None else [path.removeprefix("engine/") for path in files]
    missing = sorted(set(wanted or ()) - set(fix))
    if not fix or missing:
        what = f"engine/{missing[0]}" if missing else "its engine/"
        there = f"; changed there: {', '.join(fix)}" if fix else ""
        raise UserError(
            f"FROM={start.nn}: {what} is as it was at {commit[:10]}, so there is nothing to carry{there}"
        )
    print(f"base {commit[:10]}; the fix in stage {start.nn}: {', '.join(wanted or fix)}")
    for path in wanted or fix:
        if origin := _origin(_numbered(before), start.number, path):
            print(f"note: engine/{path} came to stage {start.nn} unchanged from {origin:02d}: a fix that belongs "
                  f"there starts with FROM={origin:02d}")  # fmt: skip
    return Journey(start.number, commit, wanted, at=start.number)


def _numbered(engines: Engines) -> dict[int, dict[str, str]]:
    """By number, so that a renamed stage is still the same stage."""
    return {int(folder[1:3]): files for folder, files in engines.items()}


def _origin(before: dict[int, dict[str, str]], number: int, path: str) -> int | None:
    """The earliest stage from which `path` was carried unchanged to stage `number`, None if changed there."""
    origin = number
    while path in before.get(number, {}) and before.get(origin - 1, {}).get(path) == before[number][path]:
        origin -= 1
    return origin if origin < number else None


def travel(root: Path, journey: Journey) -> bool:
    """Merge into each stage after `journey.at`; False where one stops with conflicts."""
    chain = stages(root)
    before = _numbered(engines_at(root, journey.base)[0])
    for previous, stage in itertools.pairwise(chain):
        if stage.number <= journey.at:
            continue
        labels = Labels(
            ours=f"stage {stage.nn}",
            base=f"stage {previous.nn} at {journey.base[:10]}",
            theirs=f"stage {previous.nn} with the fix",
        )
        theirs, ours = engine_files(previous.engine), engine_files(stage.engine)
        results = merge_stage(before.get(previous.number, {}), theirs, ours, labels, journey.files)
        if not results:
            print(f"stage {stage.nn}: nothing arrives here")
            break
        for merged in results:
            print(f"stage {stage.nn}: engine/{merged.path} {merged.how}")
            _write(stage, merged)
        journey.at = stage.number
        journey.conflicts = [
            (stage.engine / merged.path).relative_to(root).as_posix()
            for merged in results
            if merged.conflicts
        ]
        if journey.conflicts:
            state_path(root).write_text(json.dumps(asdict(journey)), encoding="utf-8")
            print(f"stopped at stage {stage.nn}. Resolve {', '.join(journey.conflicts)},")
            print("then continue with: make propagate CONTINUE=1   (or give up with ARGS=--abort)")
            return False
    state_path(root).unlink(missing_ok=True)
    return True


def _write(stage: Stage, merged: Merged) -> None:
    path = stage.engine / merged.path
    if not merged.changed:
        return
    if merged.text is None:
        path.unlink()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(merged.text, encoding="utf-8", newline="\n")


def resume(root: Path, journey: Journey) -> None:
    """Raises UserError while a conflict of the stage we stopped at is not resolved."""
    for name in journey.conflicts:
        path = root / name
        if path.exists() and MARKERS.search(path.read_text(encoding="utf-8")):
            raise UserError(
                f"{name} still holds conflict markers: resolve them, then make propagate CONTINUE=1"
            )
    print(f"continuing after stage {journey.at:02d}")


def run_tests(root: Path, chain: Sequence[Stage]) -> int:
    """The test_stage.py of `chain`; pytest's exit status."""
    paths = [
        str(stage.folder / "test_stage.py") for stage in chain if (stage.folder / "test_stage.py").exists()
    ]
    if not paths:
        return 0
    print(f"testing {', '.join(stage.nn for stage in chain)}", flush=True)
    command = [sys.executable, "-m", "pytest", "-q", "--import-mode=importlib", *paths]
    return subprocess.run(command, cwd=root, check=False).returncode


def finish(root: Path, journey: Journey, tests: str, relocked: Sequence[int]) -> int:
    """Locks and tests, once the fix has arrived everywhere."""
    shifted = moved(read_locks(root), current_locks(root))
    if relocked:
        print("relocked: " + (", ".join(relock(root, relocked)) or "nothing had moved"))
    print("locks that moved: " + (", ".join(shifted) or "none"))
    if rest := moved(read_locks(root), current_locks(root)):
        print("accept those that are meant: make relock STAGE=" + ",".join(folder[1:3] for folder in rest))
    chain = stages(root)
    if tests == "none":
        return 0
    if tests == "moved":
        chosen = [stage for stage in chain if stage.folder.name in shifted or stage is chain[-1]]
    else:
        chosen = [stage for stage in chain if stage.number >= journey.start]
    return run_tests(root, chosen)


def main(argv: list[str]) -> int:
    parser = Parser(prog="python -m common.tutorial propagate", description=HELP, allow_abbrev=False)
    parser.add_argument("--from", dest="start", metavar="NN", help="the stage that has the fix")
    parser.add_argument("--file", metavar="PATH", help="carry only this file (or several: a.py,b.py)")
    parser.add_argument(
        "--base", metavar="REF", help="the state before the fix (HEAD, or where the locks matched)"
    )
    parser.add_argument("--tests", type=choice("moved", "all", "none"), default="moved", metavar="WHICH",
                        help="moved: stages whose lock moved and the last (the default); all from NN on; none")  # fmt: skip
    parser.add_argument("--relock", metavar="NN", help="accept the new diff of these stages: 05 or 05,07")
    parser.add_argument("--continue", dest="go_on", action="store_true", help="after a conflict was resolved")
    parser.add_argument(
        "--abort", action="store_true", help="forget a stopped propagation; files stay as they are"
    )
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository (this one)")
    args = parser.parse_args(argv)
    journey = load_state(args.root)
    if args.abort:
        state_path(args.root).unlink(missing_ok=True)
        print(
            "forgotten; git diff shows what was merged, git checkout undoes it"
            if journey
            else "nothing to abort"
        )
        return 0
    relocked = stage_numbers(args.relock, "--relock") if args.relock else []
    start = find_stage(args.start, args.root) if args.start else None
    if journey and start and start.number != journey.start:
        raise UserError(
            f"a propagation from {journey.start:02d} waits at stage {journey.at:02d}: CONTINUE=1, or --abort"
        )
    if journey:
        resume(args.root, journey)
    elif start and not args.go_on:
        journey = begin(
            args.root, start, args.base, args.file.replace(",", " ").split() if args.file else None
        )
    else:
        raise UserError(
            "nothing to continue; make propagate FROM=NN starts a propagation"
            if args.go_on
            else "FROM=NN: which stage?"
        )
    return finish(args.root, journey, args.tests, relocked) if travel(args.root, journey) else 1
