"""Exercises: which file a test checks, and the proof that each fails as it is given and passes when solved.

An exercise is three files in a stage's exercises/: the starter ex1_NAME.py, its test test_ex1_NAME.py and
solution_ex1_NAME.py. The test says `exercise = load_exercise(__file__)` and so runs on any of them.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from common.errors import UserError
from common.tutorial.chain import ROOT

__all__ = ["exercise_path", "load_exercise", "outcomes"]


def load_exercise(test_file: str | Path) -> ModuleType:
    """The module that a test named test_exN_NAME.py checks; see `exercise_path`. Its own errors are not caught."""
    path = exercise_path(Path(test_file))
    spec = importlib.util.spec_from_file_location(f"exercise_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path} is no Python file")
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


def outcomes(folders: Iterable[Path], solutions: bool) -> dict[str, bool]:
    """Run the tests of some exercises/ folders in one process: "FOLDER/exercises/FILE::TEST" -> passed.

    solutions: on the stored solutions, else on the starters as they are given.
    Raises RuntimeError with pytest's last lines if a test file cannot be collected or no test is found.
    """
    tests = [str(path) for folder in folders for path in sorted(folder.glob("test_ex*.py"))]
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "VITRINE_"))}
    environ |= {"VITRINE_SOLUTIONS": str(int(solutions)), "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.xml"
        options = ["-q", "--tb=line", "-p", "no:cacheprovider", "-p", "no:xdist", f"--junitxml={report}"]
        settings = ["-o", "addopts=", "-o", "norecursedirs=.*", "--import-mode=importlib"]
        command = [sys.executable, "-m", "pytest", *options, *settings, *tests]
        done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
        if done.returncode not in (0, 1) or not report.exists():
            raise RuntimeError(f"pytest ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")
        return read_report(report)


def read_report(path: Path) -> dict[str, bool]:
    """The outcome of each test in a JUnit XML report."""
    found = {}
    for case in ET.parse(path).getroot().iter("testcase"):
        *folders, file = case.get("classname", "").split(".")
        name = f"{'/'.join(folders[-2:])}/{file}.py::{case.get('name')}"
        found[name] = case.find("failure") is None and case.find("error") is None
    return found
