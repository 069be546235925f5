"""Exercises: which file a test checks.

An exercise is three files in a stage's exercises/: the starter ex1_NAME.py, its test test_ex1_NAME.py and
solution_ex1_NAME.py. The test says `exercise = load_exercise(__file__)` and so runs on any of them, which is how
the project proves that each test fails on the starter and passes on the solution.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

from common.errors import UserError

__all__ = ["exercise_path", "load_exercise"]


def load_exercise(test_file: str | Path) -> ModuleType:
    """The module that a test named test_exN_NAME.py checks; see `exercise_path`. Its own errors are not caught."""
    path = exercise_path(Path(test_file))
    spec = importlib.util.spec_from_file_location(f"exercise_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


def exercise_path(test_file: Path) -> Path:
    """The file beside the test: the starter, which a learner fills in.

    VITRINE_SOLUTIONS=1 takes the stored solution instead. VITRINE_WORK=FOLDER takes the learner's copy,
    FOLDER/sNN_slug/exercises/exN_NAME.py. Raises UserError where there is no such file.
    """
    name, folder = test_file.name.removeprefix("test_"), test_file.resolve().parent
    if os.environ.get("VITRINE_SOLUTIONS", "") not in ("", "0"):
        name = f"solution_{name}"
    elif work := os.environ.get("VITRINE_WORK"):
        folder = Path(work) / folder.parent.name / "exercises"
    if not (folder / name).is_file():
        raise UserError(f"exercise {folder / name} does not exist")
    return folder / name
