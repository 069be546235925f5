"""Promises of `common.bench.harness`: a result says what really ran, and a short run is never kept as a recording."""

from __future__ import annotations

import json

import pytest
import torch

from common.bench.harness import Bench, Run, show_table, slug
from common.bench.results import RESULTS, Result
from common.terminal.command_line import run as run_main

BENCH = Bench("stages.s03_kv_cache", "What is measured.", repeats=5, quick_repeats=2, seed=7)


def measure(run: Run) -> None:
    result = run.result("4 tokens equal", "cpu", torch.float32, prompt_tokens=16)
    result.add_times("step_ms_1", [0.001, 0.002, 0.003], "ms")
    result.add_times("step_ms_2", [0.008], "ms")
    result.add_ratio("growth", "step_ms_2", "step_ms_1")
    run.save(result)


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """A folder in place of benchmarks/results; what was drawn."""
    drawn = []
    monkeypatch.setattr("common.bench.results.RESULTS", tmp_path / "results")
    monkeypatch.setattr(Run, "draw", lambda self, name: drawn.append(name))
    return tmp_path / "results", drawn


def call(*flags, measure=measure):
    return run_main(lambda argv: BENCH.main(measure, argv), list(flags))


def test_a_result_holds_the_arguments_that_really_ran(tmp_path):
    flags = ["--quick", "--model", "some model", "--results", str(tmp_path), "--seed=3", "--threads", "1"]
    assert call(*flags) == 0
    content = json.loads((tmp_path / "s03-some-model.json").read_text())
    assert content["command"] == (
        "python -m stages.s03_kv_cache.bench --quick --model 'some model' --seed=3 --threads 1"
    )
    assert content["workload"] == {
        "model": "some model", "dtype": "float32", "prompt_tokens": 16, "repeats": 2, "threads": 1,
    }  # fmt: skip
    assert (content["stage"], content["seed"], content["checked"]) == (3, 3, "4 tokens equal")


def test_a_full_run_is_recorded_and_drawn(recorded):
    folder, drawn = recorded
    assert call() == 0
    content = json.loads((folder / "cpu" / "s03.json").read_text())
    assert content["command"] == "python -m stages.s03_kv_cache.bench"
    assert content["workload"]["repeats"] == 5
    assert drawn == ["s03"]


def test_a_short_run_is_recorded_only_in_a_named_folder(recorded, tmp_path):
    folder, drawn = recorded
    assert call("--quick") == 0
    assert call("--quick", "--results", str(tmp_path / "mine")) == 0
    assert [path.name for path in tmp_path.rglob("*.json")] == ["s03.json"]
    assert not folder.exists()
    assert not drawn


@pytest.mark.parametrize("folder", ["", "cpu", "cpu/../h200"])
def test_a_short_run_is_refused_in_benchmarks_results_before_anything_is_measured(folder, capsys):
    def never(run):
        raise RuntimeError("measured")

    assert call("--quick", "--results", str(RESULTS / folder), measure=never) == 2
    assert "a --quick run cannot go to benchmarks/results" in capsys.readouterr().err
    with pytest.raises(Exception, match="--quick"):
        Result("s03", 3, "c", {}, None, "checked", "cpu", {"a": {"value": 1.0, "unit": ""}}, True).save()


def test_outputs_that_differ_are_not_recorded(recorded, capsys):
    def differs(run):
        raise AssertionError("token 3: 7 instead of 9")

    assert call(measure=differs) == 1
    assert "nothing is recorded: token 3" in capsys.readouterr().out
    assert not recorded[0].exists()


def test_the_figure_is_drawn_again_without_measuring(recorded):
    assert call("--figure", "--model", "gpt2-xl", measure=None) == 0
    assert recorded[1] == ["s03-gpt2-xl"]


def test_flags_follow_what_the_stage_has(capsys):
    assert BENCH.has_figure
    plain = Bench("stages.s01_forward_pass", "No figure, no seed.", repeats=3)
    assert not plain.has_figure
    assert run_main(lambda argv: plain.main(measure, argv), ["--seed", "1"]) == 2
    assert run_main(lambda argv: plain.main(measure, argv), ["--figure"]) == 2
    assert call("--help") == 0
    out = capsys.readouterr().out
    assert "--figure" in out
    assert "--seed" in out


def test_a_table_shows_recorded_values_and_a_dash_for_others(capsys):
    result = Result("s03", 3, "c", {}, None, "checked", "cpu")
    result.add_times("step_ms_1", [0.001, 0.002, 0.003], "ms")
    columns = {"step": ("step_ms_{}", "{:.1f} ms"), "P99": ("step_ms_{}.p99", "{:.2f}")}
    show_table(result, "rows", {"1": "one", "2": "two"}, columns)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["one", "2.0", "ms", "2.98"] in lines
    assert ["two", "-", "-"] in lines


def test_names_of_files_are_lower_case_words():
    assert slug("Qwen3-0.6B") == "qwen3-0-6b"
