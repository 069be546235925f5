"""`make stage-NN`: the question first, then the demo with its flags, then the number and what comes next."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from common.errors import UserError
from common.tutorial.chain import Stage, stages
from common.tutorial.chain.manifest import Headline
from common.tutorial.learner import run

MANIFEST = """
number = {number}
slug = "x"
title = "Lesson {number}"
question = "Why {number}?"
idea = "Because of {number}."
minutes = 5
capabilities = []
proves = ["test_it"]
[diff]
added = ["attention.py"]
[headline]
label = "speed"
unit = "tokens/s"
before = "r('s02', 'cpu', 'old')"
after = "r('s02', 'cpu', 'new')"
"""
DEMO = """
import sys
print("demo", __name__, sys.argv[1:])
if "--fail" in sys.argv:
    sys.exit(3)
"""


@pytest.fixture
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Stage, ...]:
    """Two stages whose demos print their flags, in place of the real ones."""
    for number in (1, 2):
        folder = tmp_path / "stages" / f"s{number:02d}_x"
        (folder / "exercises").mkdir(parents=True)
        (folder / "stage.toml").write_text(MANIFEST.format(number=number))
        (folder / "__main__.py").write_text(DEMO)
        (folder / "exercises" / "ex1_it.py").touch()
    found = stages(tmp_path)
    monkeypatch.setattr(run, "ROOT", tmp_path)
    monkeypatch.setattr(run, "find_stage", lambda which: found[int(which) - 1])
    monkeypatch.setattr(
        run, "neighbour", lambda stage, step: {(1, 1): found[1], (2, -1): found[0]}.get((stage.number, step))
    )
    # `stages` is imported already and shows the real folder; these demos live under another name.
    (tmp_path / "stages").rename(tmp_path / "lessons")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(Stage, "package", property(lambda stage: f"lessons.{stage.folder.name}"))
    return found


def positions(text: str, *parts: str) -> list[int]:
    return [text.index(part) for part in parts]


def test_question_and_idea_come_first_then_the_demo_then_what_to_do_next(chain, capfd):
    assert run.main(["1", "--model", "a b"]) == 0
    order = positions(
        capfd.readouterr().out, "Stage 01: Lesson 1", "Why 1?", "Because of 1.",
        "demo __main__ ['--model', 'a b']", "make test-01", "make bench-01  ", "make stage-02",
    )  # fmt: skip
    assert order == sorted(order)


def test_a_failing_demo_passes_its_status_on_and_advises_nothing(chain, capfd):
    assert run.main(["2", "--fail"]) == 3
    assert "make test-02" not in capfd.readouterr().out


def test_help_is_the_demos_own(chain, capfd):
    assert run.main(["1", "--help"]) == 0
    assert capfd.readouterr().out == "demo __main__ ['--help']\n"


def test_without_a_record_the_number_is_not_invented(chain, monkeypatch, capfd):
    def missing(expression):
        raise UserError("no such result")

    monkeypatch.setattr("common.tutorial.chain.claims.evaluate_number", missing)
    run.show_headline(chain[1])
    assert capfd.readouterr().out == "speed: not recorded yet; make bench-02 measures it here\n"


def show(
    chain: tuple[Stage, ...],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    **fields: str,
) -> str:
    """What is said of stage 02 where `old` was recorded as 20 and `new` as 50."""
    head = {
        "label": "speed",
        "unit": "ms",
        "before": "r('s02', 'cpu', 'old')",
        "after": "r('s02', 'cpu', 'new')",
    }
    monkeypatch.setattr(
        "common.tutorial.chain.claims.evaluate_number", lambda e: 20.0 if "old" in e else 50.0
    )
    object.__setattr__(chain[1].manifest, "headline", Headline(**{**head, **fields}))
    run.show_headline(chain[1])
    return capfd.readouterr().out


def test_a_pair_of_one_run_is_shown_with_its_factor(chain, monkeypatch, capfd):
    assert "stage 01 -> 02): 20 -> 50 ms (2.50x" in show(chain, monkeypatch, capfd)


def test_where_lower_is_better_the_factor_says_so(chain, monkeypatch, capfd):
    assert "(0.40x, worse)" in show(chain, monkeypatch, capfd, better="lower")


def test_numbers_of_two_runs_are_never_set_side_by_side(chain, monkeypatch, capfd):
    said = show(chain, monkeypatch, capfd, before="r('s01', 'cpu', 'old')")
    assert said == "speed (recorded): 50 ms\n"
    assert "20" not in show(chain, monkeypatch, capfd, before="r('s02', 'h200', 'old')")


def test_a_text_given_to_exit_is_an_error(tmp_path, monkeypatch, capfd):
    (tmp_path / "quits_with_text.py").write_text("import sys; sys.exit('no such thing')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "argv", sys.argv)
    assert run.run_module("quits_with_text", []) == 1
    assert capfd.readouterr().err == "no such thing\n"


@pytest.mark.parametrize(
    ("number", "text"), [(45678.9, "45,679"), (999.4, "999"), (2.5, "2.5"), (0.01234, "0.0123")]
)
def test_numbers_are_readable(number, text):
    assert run.readable(number) == text
