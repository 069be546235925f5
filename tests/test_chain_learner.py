"""The learner's tools on a throw-away chain: try, hint, reset, check, predict, new-stage, history."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from common.errors import UserError
from common.tutorial.chain import find_stage, history, newstage, stages
from common.tutorial.chain.verify import verify
from common.tutorial.learner import check, predict, trycheck
from common.tutorial.learner.attempt import assemble
from common.tutorial.learner.outcomes import run_tests
from tests.throwaway import Throwaway, build, git


@pytest.fixture
def chain(tmp_path: Path) -> Throwaway:
    return build(tmp_path)


def root(chain: Throwaway) -> list[str]:
    stages.cache_clear()
    return ["--root", str(chain.root)]


def mine(chain: Throwaway) -> Path:
    return chain.root / "work" / "s03_sampling"


def solve(chain: Throwaway) -> None:
    """Put our own engine into the attempt at stage 03."""
    shutil.copytree(chain.stage(3) / "engine", mine(chain) / "engine", dirs_exist_ok=True)


def test_attempt_is_the_earlier_engine_with_this_stages_tests_and_no_solutions(chain: Throwaway) -> None:
    assert trycheck.main(["03", *root(chain)]) == 0
    here = mine(chain)
    assert (here / "engine" / "cache.py").read_text() == chain.engine(2, "cache.py").read_text()
    assert not (here / "engine" / "sampler.py").exists()
    assert (here / "test_stage.py").read_text() == (chain.stage(3) / "test_stage.py").read_text()
    assert (here / "exercises" / "ex1_double.py").exists()
    assert not list(here.rglob("solution_*"))
    assert "truncate forgets" in (here / "TASK.md").read_text()


def test_check_names_the_red_promises_and_turns_green(
    chain: Throwaway, capsys: pytest.CaptureFixture[str]
) -> None:
    trycheck.main(["03", *root(chain)])
    assert check.main(["03", *root(chain)]) == 1
    out = capsys.readouterr().out
    assert "✗  1. sample is greedy" in out
    assert "No module named" in out
    assert "✗  2. truncate forgets" in out
    assert "no attribute 'truncate'" in out
    assert "work/s03_sampling/exercises/ex1_double.py  not solved yet" in out
    solve(chain)
    (mine(chain) / "exercises" / "ex1_double.py").write_text("def answer(n):\n    return n + n\n")
    assert check.main(["03", *root(chain)]) == 0
    out = capsys.readouterr().out
    assert "✓  1. sample is greedy" in out
    assert "✓ work/s03_sampling/exercises/ex1_double.py" in out
    assert "exercises/ex2_triple.py  not solved yet" in out


def test_the_task_has_the_interface_without_the_bodies(chain: Throwaway) -> None:
    sampler = chain.stage(3) / "engine" / "sampler.py"
    sampler.write_text(
        sampler.read_text()
        + "\n\nclass Sampler:\n"
        + '    """Draws."""\n\n'
        + "    def __init__(self, seed: int):\n        # Where it begins.\n        self.seed = seed\n\n"
        + '    def draw(self, count: int = 1) -> int:\n        """Draws tokens."""\n'
        + "        if count < 1:\n            raise UserError('none')\n        return 4\n\n"
        + "    def secret(self): ...\n"
    )
    tests = chain.stage(3) / "test_stage.py"
    tests.write_text(
        tests.read_text() + "\n\ndef test_it():\n    assert engine.Sampler(seed=1).draw() == 4\n"
    )
    trycheck.main(["03", *root(chain)])
    task = (mine(chain) / "TASK.md").read_text()
    assert "class Sampler:" in task
    assert "# self.seed: Where it begins." in task
    assert (
        'def draw(self, count: int = 1) -> int:\n        """Draws tokens."""\n        ...  # raises UserError'
        in task
    )
    assert "return 4" not in task
    assert "secret" not in task
    assert "`work/s03_sampling/exercises/ex1_double.py`" in task


def test_other_tests_run_once_the_promises_are_kept_and_one_can_be_asked_for(
    chain: Throwaway, capsys: pytest.CaptureFixture[str]
) -> None:
    tests = chain.stage(3) / "test_stage.py"
    tests.write_text(tests.read_text() + "\n\ndef test_something_more():\n    pass\n")
    trycheck.main(["03", *root(chain)])
    capsys.readouterr()
    check.main(["03", *root(chain)])
    out = capsys.readouterr().out
    assert "also tested, once the promises are kept: 1 more" in out
    assert "something more" not in out
    assert check.main(["03", "--only", "more", *root(chain)]) == 0
    assert "✓ something more" in capsys.readouterr().out
    assert check.main(["03", "--only", "2", *root(chain)]) == 1
    out = capsys.readouterr().out
    assert "2. truncate forgets" in out
    assert "sample is greedy" not in out
    solve(chain)
    check.main(["03", *root(chain)])
    assert "✓ something more" in capsys.readouterr().out
    with pytest.raises(UserError, match="a promise from 1 to 2, or a word"):
        check.main(["03", "--only", "9", *root(chain)])


def test_an_attempt_may_word_its_errors_as_it_likes(chain: Throwaway) -> None:
    shutil.copy(Path(__file__).parents[1] / "stages" / "conftest.py", chain.root / "stages" / "conftest.py")
    tests = chain.stage(3) / "test_stage.py"
    tests.write_text(
        "import pytest\n\n\ndef test_sample_is_greedy():\n"
        "    with pytest.raises(ValueError, match='our words'):\n        raise ValueError('yours')\n\n\n"
        "@pytest.mark.wording\ndef test_truncate_forgets():\n    raise ValueError('yours')\n"
    )
    assert {o.name: o.passed for o in run_tests([tests], cwd=chain.root)} == {
        "test_sample_is_greedy": False,
        "test_truncate_forgets": False,
    }
    trycheck.main(["03", *root(chain)])
    found = run_tests([mine(chain) / "test_stage.py"], cwd=chain.root)
    assert [(o.name, o.passed or o.skipped) for o in found] == [
        ("test_sample_is_greedy", True),
        ("test_truncate_forgets", True),
    ]


def test_check_explains_tests_that_cannot_be_imported_yet(
    chain: Throwaway, capsys: pytest.CaptureFixture[str]
) -> None:
    trycheck.main(["02", *root(chain)])  # its tests import the cache at the top of the file
    assert check.main(["02", *root(chain)]) == 1
    out = capsys.readouterr().out
    assert "cannot be imported yet" in out
    assert "engine.cache" in out
    assert "✗  1. cache keeps keys" in out


def test_work_is_never_overwritten_without_asking(
    chain: Throwaway, capsys: pytest.CaptureFixture[str]
) -> None:
    trycheck.main(["03", *root(chain)])
    own = mine(chain) / "engine" / "sampler.py"
    own.write_text("mine = 1\n")
    assert trycheck.main(["03", *root(chain)]) == 0
    assert "changed by you: engine/sampler.py" in capsys.readouterr().out
    assert own.read_text() == "mine = 1\n"
    with pytest.raises(UserError, match="holds your changes"):
        trycheck.main(["03", "--reset", *root(chain)])
    assert own.read_text() == "mine = 1\n"
    assert trycheck.main(["03", "--reset", "--yes", *root(chain)]) == 0
    assert not own.exists()
    assert (chain.root / "work/old/s03_sampling-1/engine/sampler.py").read_text() == "mine = 1\n"


def test_hints_come_one_at_a_time_and_end_with_the_solution(
    chain: Throwaway, capsys: pytest.CaptureFixture[str]
) -> None:
    trycheck.main(["02", *root(chain)])
    capsys.readouterr()
    given = []
    for _ in range(9):
        trycheck.main(["02", "--hint", *root(chain)])
        given.append(capsys.readouterr().out)
    assert "Think of a list." in given[0]
    assert "Append." in given[1]
    assert any("def size(self)" in hint and "class Cache:" in hint for hint in given)
    assert any("generate.py is changed in our solution: fills the cache" in hint for hint in given)
    assert "make diff-02 shows our solution" in given[-1]


def test_first_stage_can_be_tried_too(chain: Throwaway) -> None:
    assert trycheck.main(["01", *root(chain)]) == 0
    assert check.main(["01", *root(chain)]) == 0


def test_check_without_an_attempt_says_how_to_begin(chain: Throwaway) -> None:
    with pytest.raises(UserError, match="make try-03"):
        check.main(["03", *root(chain)])


QUESTIONS = """
[[predict]]
question = "How much faster?"
choices = [1.2, 2, 5]
answer = "r('s03', 'cpu', 'speedup')"
unit = "x"
why = "Half the work."
[[predict]]
question = "How long?"
answer = "r('s03', 'cpu', 'ms')"
unit = "ms"
why = "Bytes over bandwidth."
[[predict]]
question = "Does it grow?"
choices = ["yes", "no"]
answer = "'yes' if r('s03', 'cpu', 'speedup') > 1 else 'no'"
why = "It does."
"""


@pytest.fixture
def asking(chain: Throwaway) -> Throwaway:
    with (chain.stage(3) / "stage.toml").open("a") as file:
        file.write(QUESTIONS)
    chain.result("s03", {"speedup": 3.0, "ms": 100.0})
    return chain


@pytest.mark.parametrize(
    ("answers", "total"),
    [
        ("b,120,yes", "3 of 3"),  # 3 is nearer to 2 than to 5, by ratio; 120 is within 30 %
        ("c,140,no", "0 of 3"),
        ("2,75 ms,A", "3 of 3"),
        ("a,130,b", "1 of 3"),
    ],
)
def test_predictions_are_scored(
    asking: Throwaway, capsys: pytest.CaptureFixture[str], answers: str, total: str
) -> None:
    assert predict.main(["03", "--answers", answers, *root(asking)]) == 0
    out = capsys.readouterr().out
    assert f"{total} right" in out
    assert "recorded: 100 ms" in out
    assert "Bytes over bandwidth." in out


def test_local_result_counts_as_well(asking: Throwaway, capsys: pytest.CaptureFixture[str]) -> None:
    recorded = asking.result("s03", {"speedup": 3.0, "ms": 100.0})
    local = asking.root / "work" / "results" / "s03.json"
    local.parent.mkdir(parents=True)
    local.write_text(recorded.read_text().replace("100.0", "400.0"))
    predict.main(["03", "--answers", "b,390,yes", *root(asking)])
    out = capsys.readouterr().out
    assert "3 of 3 right" in out
    assert "here: 400 ms" in out


SPREAD = """
[[predict]]
question = "How long does it wait?"
answer = "r('s03', 'cpu', 'ms')"
bounds = [10, 50]
unit = "ms"
why = "Luck."
[[predict]]
question = "Which slot?"
answer = "6 - 1"
choices = [4, 5]
why = "A place is a position."
"""


@pytest.mark.parametrize(
    ("samples", "answer", "right"),
    [
        ([40.0, 42.0, 41.0], "b", True),
        ([40.0, 42.0, 41.0], "30 ms", True),  # a number stands for the range it lies in
        ([40.0, 42.0, 41.0], "c", False),
        ([40.0, 90.0, 41.0], "c", True),  # one of the samples says so
        ([40.0, 90.0, 41.0], "a", False),
    ],
)
def test_an_answer_within_the_spread_of_the_samples_is_not_wrong(
    chain: Throwaway, capsys: pytest.CaptureFixture[str], samples: list[float], answer: str, right: bool
) -> None:
    with (chain.stage(3) / "stage.toml").open("a") as file:
        file.write(SPREAD)
    path = chain.result("s03", {"ms": 41.0})
    recorded = json.loads(path.read_text())
    recorded["values"]["ms"] |= {"unit": "ms", "samples": samples}
    path.write_text(json.dumps(recorded))
    predict.main(["03", "--answers", f"{answer},5", *root(chain)])
    out = capsys.readouterr().out
    assert f"{1 + right} of 2 right" in out
    assert "b) 10 to 50 ms" in out
    assert "answer: 5" in out  # a rule, not a result
    unstable = [str(finding) for finding in verify(chain.root) if "prediction 1" in str(finding)]
    assert bool(unstable) == (90.0 in samples)


def test_without_a_terminal_questions_are_printed_and_answers_are_not(
    asking: Throwaway, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    assert predict.main(["03", *root(asking)]) == 0
    out = capsys.readouterr().out
    assert "a) 1.2 x" in out
    assert "Half the work." not in out
    predict.main(["03", "--reveal", *root(asking)])
    assert "Half the work." in capsys.readouterr().out


def test_questions_are_asked_and_empty_lines_skip(
    asking: Throwaway, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = iter(["z", "b", "", "yes"])
    monkeypatch.setattr("builtins.input", lambda _: next(given))
    stage = find_stage("03", asking.root)
    stages.cache_clear()
    predict.run(find_stage("03", asking.root), asking.root, None, reveal=False, interactive=True)
    assert stage.number == 3
    out = capsys.readouterr().out
    assert "answer 'z': choose from a, b, c" in out
    assert "2 of 2 right" in out


def test_wrong_answers_are_refused_in_one_line(asking: Throwaway) -> None:
    with pytest.raises(UserError, match="1 given, stage 03 asks 3 questions"):
        predict.main(["03", "--answers", "b", *root(asking)])
    with pytest.raises(UserError, match="must be a number in ms"):
        predict.main(["03", "--answers", "b,soon,yes", *root(asking)])


NEW = ["--title", 'The "next" one', "--question", "Why next?", "--idea", "Do next."]


def test_new_stage_is_the_last_with_an_empty_diff(chain: Throwaway) -> None:
    assert newstage.main(["after_limits", *NEW, *root(chain)]) == 0
    folder = chain.root / "stages" / "s05_after_limits"
    stage = find_stage("05", chain.root)
    assert stage.title == 'The "next" one'
    assert stage.manifest.diff.files == ()
    assert (folder / "engine" / "generate.py").read_text() == chain.engine(4, "generate.py").read_text()
    assert chain.errors() == [
        "error: s05_after_limits: proves test_after_limits, but test_stage.py has no such test: write it, "
        "or correct proves"
    ]


def test_new_stage_refuses_bad_names_and_texts(chain: Throwaway) -> None:
    with pytest.raises(UserError, match="slug 'After': lower-case"):
        newstage.main(["After", *NEW, *root(chain)])
    with pytest.raises(UserError, match="question: must be one question"):
        newstage.main(["after", *NEW, "--question", "Next.", *root(chain)])
    assert len(stages(chain.root)) == 4


def test_history_is_linear_tagged_and_repeatable(chain: Throwaway, tmp_path: Path) -> None:
    target = tmp_path / "work" / "history"
    assert history.main(root(chain)) == 0
    first = git(target, "rev-parse", "main")
    assert history.main(root(chain)) == 0  # replaces its own export
    assert git(target, "rev-parse", "main") == first
    assert git(target, "tag").split() == ["stage-01", "stage-02", "stage-03", "stage-04"]
    assert git(target, "rev-list", "--count", "--first-parent", "main").strip() == "4"
    assert git(target, "diff", "--name-only", "stage-02", "stage-03").split() == [
        "engine/cache.py", "engine/sampler.py",
    ]  # fmt: skip
    assert "Why sampling?" in git(target, "log", "-1", "--format=%B", "stage-03")
    assert (target / "engine" / "generate.py").read_text() == chain.engine(4, "generate.py").read_text()
    assert git(target, "status", "--porcelain") == ""


def test_history_replaces_nothing_that_is_not_its_own(chain: Throwaway, tmp_path: Path) -> None:
    other = tmp_path / "precious"
    other.mkdir()
    (other / "file").write_text("x")
    with pytest.raises(UserError, match="not an export of this command"):
        history.main(["--out", str(other), *root(chain)])
    assert (other / "file").exists()


def test_outcomes_tell_failed_from_not_collected_and_select(chain: Throwaway) -> None:
    stages.cache_clear()
    three, two = find_stage("03", chain.root), find_stage("02", chain.root)
    assemble(three, two, chain.root / "proof" / "s03_sampling")
    tests = chain.root / "proof" / "s03_sampling" / "test_stage.py"
    found = run_tests([tests], cwd=chain.root, only={tests: ["test_truncate_forgets"]})
    assert [(one.name, one.passed) for one in found] == [("test_truncate_forgets", False)]
    tests.write_text("import nothing_like_it\n\n\ndef test_x():\n    pass\n")
    found = run_tests([tests], cwd=chain.root)
    assert [(one.name, one.passed) for one in found] == [("", False)]
    assert "nothing_like_it" in found[0].message
