"""`make test`, `make test-NN`, `make test-all`: which tests belong to the three, and how they are run."""

from __future__ import annotations

import subprocess
import sys

from common.tutorial.chain import ROOT, find_stage

__all__ = ["main", "pytest_arguments"]

# Two workers: the size of the smallest machine that should be comfortable. Each computes on one thread.
PARALLEL = ["-n", "2", "--dist", "worksteal"]


def pytest_arguments(what: str | None) -> list[str]:
    """Arguments for pytest: None is every change's tests, "all" everything, a number that stage's.

    Raises UserError for a stage that does not exist.
    """
    if what is None:
        return PARALLEL
    if what == "all":
        return [*PARALLEL, "-m", ""]
    stage = find_stage(what)
    paths = [stage.folder.relative_to(ROOT).as_posix()]
    if (ROOT / "tests" / "contract").is_dir():
        paths += ["tests/contract", "--stage", stage.nn]
    return paths


def main(argv: list[str]) -> int:
    """`argv`: [NN | all] [pytest's own arguments]."""
    what = argv[0] if argv and not argv[0].startswith("-") else None
    rest = argv[1:] if what else argv
    return subprocess.run(
        [sys.executable, "-m", "pytest", *pytest_arguments(what), *rest], cwd=ROOT, check=False
    ).returncode
