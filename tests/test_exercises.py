"""Every stage's exercises fail as they are given and pass when solved; a test finds the file it is about."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import UserError
from common.tutorial.chain import ROOT
from common.tutorial.learner.exercises import exercise_path, load_exercise
from common.tutorial.learner.outcomes import Outcome, run_tests

pytestmark = pytest.mark.timeout(600)  # the whole chain is run in one

TESTS = sorted(ROOT.glob("stages/s*/exercises/test_ex*.py"))


@pytest.fixture(scope="module")
def starters() -> list[Outcome]:
    return run_tests(TESTS, cwd=ROOT, env={"VITRINE_SOLUTIONS": "0"})


@pytest.fixture(scope="module")
def solutions() -> list[Outcome]:
    return run_tests(TESTS, cwd=ROOT, env={"VITRINE_SOLUTIONS": "1"})


def test_every_exercise_fails_as_it_is_given(starters):
    """Test by test: one that passes on the starter checks nothing. Collected, too: the starter can be imported."""
    assert {outcome.path for outcome in starters if outcome.name} == {str(path) for path in TESTS}
    assert [f"{o.path}::{o.case}" for o in starters if o.passed or o.skipped or not o.name] == []


def test_every_exercise_passes_with_its_stored_solution(solutions, starters):
    assert [f"{o.path}::{o.case} {o.message}" for o in solutions if not o.passed] == []
    assert {(o.path, o.case) for o in solutions} == {(o.path, o.case) for o in starters}


def make(folder: Path, name: str, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


def test_a_test_finds_the_starter_the_solution_or_the_learners_copy(tmp_path, monkeypatch):
    monkeypatch.delenv("VITRINE_SOLUTIONS", raising=False)
    monkeypatch.delenv("VITRINE_WORK", raising=False)
    folder = tmp_path / "stages" / "s04_limits" / "exercises"
    make(folder, "ex1_double.py", "whose = 'starter'")
    make(folder, "solution_ex1_double.py", "whose = 'solution'")
    test = folder / "test_ex1_double.py"
    assert load_exercise(test).whose == "starter"
    monkeypatch.setenv("VITRINE_WORK", str(tmp_path / "work"))
    with pytest.raises(UserError, match=r"ex1_double\.py does not exist"):
        exercise_path(test)
    make(tmp_path / "work" / "s04_limits" / "exercises", "ex1_double.py", "whose = 'learner'")
    assert load_exercise(test).whose == "learner"
    monkeypatch.setenv("VITRINE_SOLUTIONS", "1")
    assert load_exercise(test).whose == "solution"
