"""`make stage-NN`: the question first, then the demo with its flags, then the number and what comes next."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

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


def test_without_a_record_the_number_is_not_invented(chain, capfd):
    run.show_headline(chain[1])
    assert capfd.readouterr().out == "speed: not recorded yet; make bench-02 measures it here\n"


def record(root: Path, old: list[float], new: list[float]) -> None:
    """Results s01 and s02 with the samples of `old` and `new`, one taken after the other."""
    fields = dict.fromkeys(("command", "commit", "code_hash", "checked", "recorded"), "x")
    values = {
        key: {"value": sorted(samples)[len(samples) // 2], "unit": "ms", "samples": samples}
        for key, samples in (("old", old), ("new", new))
    }
    for name, machine in (("s01", "cpu"), ("s02", "cpu"), ("s02", "h200")):
        folder = root / "benchmarks" / "results" / machine
        folder.mkdir(parents=True, exist_ok=True)
        more = {
            "schema": 1,
            "name": name,
            "stage": 2,
            "machine": {},
            "workload": {},
            "seed": 0,
            "values": values,
        }
        (folder / f"{name}.json").write_text(json.dumps(fields | more))


def show(
    chain: tuple[Stage, ...],
    capfd: pytest.CaptureFixture[str],
    old: Sequence[float] = (20.0, 21.0, 19.0),
    new: Sequence[float] = (50.0, 51.0, 49.0),
    **fields: str,
) -> str:
    """What is said of stage 02 where these samples of `old` and `new` were recorded."""
    record(run.ROOT, list(old), list(new))
    head = {
        "label": "speed",
        "unit": "ms",
        "before": "r('s02', 'cpu', 'old')",
        "after": "r('s02', 'cpu', 'new')",
    }
    object.__setattr__(chain[1].manifest, "headline", Headline(**{**head, **fields}))
    run.show_headline(chain[1])
    return capfd.readouterr().out


def test_a_pair_of_one_run_is_shown_with_its_factor(chain, capfd):
    assert "stage 01 -> 02): 20 -> 50 ms (2.50x" in show(chain, capfd)


def test_a_pair_that_its_samples_do_not_tell_apart_is_shown_as_equal(chain, capfd):
    noisy = show(chain, capfd, old=[20.0, 30.0, 25.0, 22.0], new=[24.0, 26.0, 29.0, 21.0])
    assert "= (25 and 26 ms: no difference that we could measure)" in noisy
    assert "= (100 and 103 ms" in show(chain, capfd, old=[100.0] * 3, new=[103.0] * 3)
    assert "10 -> 11 ms" in show(chain, capfd, old=[10.0, 10.1, 9.9], new=[11.0, 11.2, 10.8])


def test_samples_taken_in_turns_are_compared_pair_by_pair(chain, capfd):
    assert "25 -> 28 ms" in show(chain, capfd, old=[20.0, 30.0, 25.0], new=[23.0, 33.0, 28.0])


def test_where_lower_is_better_the_factor_says_so(chain, capfd):
    assert "(0.40x, worse)" in show(chain, capfd, better="lower")


def test_numbers_of_two_runs_are_never_set_side_by_side(chain, capfd):
    said = show(chain, capfd, before="r('s01', 'cpu', 'old')")
    assert said == "speed (recorded): 50 ms\n"
    assert "20" not in show(chain, capfd, before="r('s02', 'h200', 'old')")


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
