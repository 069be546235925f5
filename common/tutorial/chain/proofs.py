"""Proof that a stage's promises are its own: the tests it names are collected, and fail on the engine before it.

Run by CI over the whole chain, in two processes. What a promise is, and how a test is written for it, is told in
`manifest`; that exercises fail as given and pass when solved is proved beside them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from common.tutorial.chain import Stage, stages
from common.tutorial.learner.attempt import assemble
from common.tutorial.learner.outcomes import Outcome, run_tests

__all__ = ["not_collected", "not_failing"]


def not_collected(root: Path) -> list[str]:
    """Promises below `root` that pytest does not find in their stage, one line each."""
    chain = [stage for stage in stages(root) if stage.manifest.proves]
    tests = {stage.folder / "test_stage.py": stage.manifest.proves for stage in chain}
    found = {(one.path, one.name) for one in run_tests(tests, cwd=root, only=tests, collect_only=True)}
    return [
        f"{path.parent.name}: {name} is not collected"
        for path, names in tests.items()
        for name in names
        if (str(path.resolve()), name) not in found
    ]


def not_failing(root: Path, scratch: Path) -> list[str]:
    """Promises that the previous stage's engine keeps already, or that cannot be decided; one line each.

    scratch: an empty folder, where each stage is laid out with the engine before it.
    """
    chain = stages(root)
    pairs = [(a, b) for a, b in pairwise(chain) if b.manifest.proves]
    tests = {}
    for previous, stage in pairs:
        assemble(stage, previous, scratch / stage.folder.name)
        tests[scratch / stage.folder.name / "test_stage.py"] = stage.manifest.proves
    found = run_tests(tests, cwd=root, only=tests)
    return [line for previous, stage in pairs for line in _unproved(previous, stage, scratch, found)]


def _unproved(previous: Stage, stage: Stage, scratch: Path, found: list[Outcome]) -> Iterator[str]:
    path = str((scratch / stage.folder.name / "test_stage.py").resolve())
    here = [one for one in found if one.path == path]
    if any(not one.name for one in here):
        return  # the file cannot even be imported with that engine: all its tests fail
    for name in stage.manifest.proves:
        cases = [one for one in here if one.name == name]
        if any(not one.passed and not one.skipped for one in cases):
            continue
        if any(one.passed for one in cases):
            yield f"{stage.folder.name}: {name} passes on stage {previous.nn}'s engine: it proves nothing"
        elif stage.manifest.visible_on == "cpu":
            yield f"{stage.folder.name}: {name} was {'skipped' if cases else 'not run'}: it proves nothing here"
