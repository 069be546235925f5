"""What users type: make targets, `python -m common.tutorial`, wrong numbers and names, quoting."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from common.errors import UserError
from common.tutorial.__main__ import COMMANDS, SWITCHES, VALUES, flags_from_make, main
from common.tutorial.chain import ROOT, find_stage, neighbour, parse_number, stages
from common.tutorial.learner.testing import pytest_arguments

FROM_MAKE = ("MAKE", "VENV", "PYTHON", "TORCH_INDEX")  # `make test VENV=none` hands these to its tests
needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="no make")
MANIFEST = """
number = {number}
slug = "{slug}"
title = "Lesson {number}"
question = "Why {number}?"
idea = "Because of {number}."
minutes = 5
capabilities = []
proves = ["test_it"]
[diff]
added = ["attention.py"]
"""


def write_chain(root: Path, *lessons: tuple[int, str, str]) -> Path:
    """Stages under `root` from (number, slug, folder name)."""
    for number, slug, folder in lessons:
        path = root / "stages" / folder
        path.mkdir(parents=True)
        (path / "stage.toml").write_text(MANIFEST.format(number=number, slug=slug))
    return root


def tutorial(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python -m common.tutorial ...` as a user runs it."""
    command = [sys.executable, "-m", "common.tutorial", *arguments]
    env = {**os.environ, **environment}
    return subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.mark.parametrize("text", [7, "7", "07", "s07", "stage-7", "stage-07", " Stage-07 "])
def test_every_spelling_of_a_number_is_understood(text):
    assert parse_number(text) == 7


@pytest.mark.parametrize("text", ["", "foo", "-7", "7.5", "007x", "stage", "123"])
def test_other_texts_are_no_number(text):
    assert parse_number(text) is None


def test_stages_are_found_in_order_and_know_their_neighbours(tmp_path):
    root = write_chain(tmp_path, (2, "b", "s02_b"), (1, "a", "s01_a"), (10, "c", "s10_c"))
    (root / "stages" / "s11_unwritten").mkdir()
    assert [stage.nn for stage in stages(root)] == ["01", "02", "10"]
    second = find_stage("2", root)
    assert second.package == "stages.s02_b"
    assert neighbour(second, 1, root) == find_stage(10, root)
    assert neighbour(find_stage(1, root), -1, root) is None


def test_a_wrong_stage_number_names_the_possible_ones(tmp_path):
    root = write_chain(tmp_path, (1, "a", "s01_a"), (2, "b", "s02_b"))
    with pytest.raises(UserError, match=r"'99'.*01 to 02"):
        find_stage("99", root)


def test_a_folder_that_does_not_fit_its_manifest_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"s03_x.*s03_y"):
        stages(write_chain(tmp_path, (3, "y", "s03_x")))


def test_a_number_that_stands_twice_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"03 exists twice: s03_x, s03_y"):
        stages(write_chain(tmp_path, (3, "x", "s03_x"), (3, "y", "s03_y")))


def test_arguments_of_make_become_flags_and_leave_the_environment():
    environ = {"FROM_MAKE_MODEL": "/a b/c", "FROM_MAKE_ARGS": """--prompt "it's a \\"test\\"" -n 3""",
               "FROM_MAKE_HTML": "1", "FROM_MAKE_TRACE": "0", "FROM_MAKE_DEVICE": "", "HOME": "/"}  # fmt: skip
    assert flags_from_make(environ) == [
        "--model",
        "/a b/c",
        "--html",
        "--prompt",
        'it\'s a "test"',
        "-n",
        "3",
    ]
    assert environ == {"HOME": "/"}


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["run", "99"], "stage '99' does not exist"),
        (["run", "foo"], "stage 'foo' does not exist"),
        (["bench", "0"], "stage '0' does not exist"),
        (["test", "77"], "stage '77' does not exist"),
        (["runn", "02"], "command 'runn'"),
        (["doctor", "--device", "tpu"], "device 'tpu'"),
        (["doctor", "--model", "x"], "unknown argument '--model'"),
        (["sanity", "--model", "no-such-model"], "storyteller-draft"),
        (["sanity", "--model", "/no such folder"], "shipped models are storyteller"),
        (["sanity", "--device", "cuda:77"], "device 'cuda:77'"),
        (["sanity", "--dtype", "int3"], "float32, bfloat16"),
    ],
)
def test_bad_input_gets_one_line_that_says_what_is_possible(arguments, line):
    done = tutorial(*arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert line in done.stderr


def test_an_open_quote_in_args_is_named(monkeypatch, capsys):
    monkeypatch.setenv("FROM_MAKE_ARGS", '--prompt "abc')
    assert main(["--from-make", "doctor"]) == 2
    assert capsys.readouterr().err == 'error: ARGS=--prompt "abc: No closing quotation\n'


def test_help_starts_without_torch():
    code = "import sys; from common.tutorial.__main__ import main; main(['--help']); assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in COMMANDS)


def test_every_command_has_its_module():
    missing = [name for name, (module, _) in COMMANDS.items() if importlib.util.find_spec(module) is None]
    assert not missing


def test_every_make_target_calls_a_command_there_is():
    text = (ROOT / "Makefile").read_text()
    called = set(re.findall(r"\$\(RUN\) (\S+)", text))
    assert len(called) > 15
    assert called <= set(COMMANDS)
    given = re.search(r"^GIVEN := (.*)$", text, re.M)
    assert given is not None
    assert set(given[1].split()) == {*VALUES, *SWITCHES, "ARGS"}


def test_a_stages_tests_are_its_own_and_the_contract_suite_on_it(tmp_path, monkeypatch):
    root = write_chain(tmp_path, (4, "x", "s04_x"))
    monkeypatch.setattr("common.tutorial.learner.testing.ROOT", root)
    monkeypatch.setattr("common.tutorial.learner.testing.find_stage", lambda which: find_stage(which, root))
    assert pytest_arguments("4") == ["stages/s04_x"]
    (root / "tests" / "contract").mkdir(parents=True)
    assert pytest_arguments("4") == ["stages/s04_x", "tests/contract", "--stage", "04"]
    assert pytest_arguments("all")[-2:] == ["-m", ""]
    assert "-m" not in pytest_arguments(None)


@pytest.fixture
def echo(tmp_path: Path) -> Path:
    """An interpreter that only says how it was called."""
    script = tmp_path / "echo python"
    script.write_text('#!/bin/sh\nenv | grep -a "^FROM_MAKE_.*=." | sort\necho "called: $*"\n')
    script.chmod(0o755)
    return script


def make(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(FROM_MAKE)}
    return subprocess.run(["make", *arguments], cwd=ROOT, env={**clean, **environment},
                          capture_output=True, text=True, check=False, timeout=60)  # fmt: skip


@needs_make
def test_prompts_survive_make(echo):
    args = """--prompt "it's a \\"test\\" for $5 $(x `ls` #1; & | > *" --stop '\\'"""
    done = make("stage-02", f"ARGS={args}", "MODEL=/a b/c", "VENV=none", f"PYTHON={echo}")
    assert done.stdout.splitlines() == [
        f"FROM_MAKE_ARGS={args}",
        "FROM_MAKE_MODEL=/a b/c",
        "called: -m common.tutorial --from-make run 02",
    ]


@needs_make
def test_variables_count_on_the_command_line_only(echo):
    done = make(
        "stage-7", "VENV=none", f"PYTHON={echo}", MODEL="other", ARGS="$(oops", DEVICE="tpu", DTYPE="x"
    )
    assert done.stdout == "called: -m common.tutorial --from-make run 7\n"


@needs_make
def test_make_help_names_every_command_of_the_course():
    text = make("help").stdout
    for command in (
        "stage-NN diff-NN test-NN test test-all bench-NN bench trace-NN article-NN predict-NN try-NN check-NN "
        "serve-NN chat doctor sanity lint types verify propagate articles history new-stage relock"
    ).split():
        assert re.search(rf"^  make {command} ", text, re.M), command


@needs_make
def test_an_unknown_target_points_to_help():
    done = make("stag-02")
    assert done.returncode == 2
    assert done.stderr.startswith("error: no target 'stag-02'; make help lists them\n")
