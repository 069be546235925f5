"""Promises of `common.terminal.command_line`: one line for bad input, the right exit status, quiet interruptions."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest

from common.errors import UserError
from common.terminal import command_line


def parser() -> command_line.Parser:
    made = command_line.stage_parser(
        "python -m stages.demo", "A demo.", ["--prompt 'Hello'", "--max-tokens 5"]
    )
    command_line.add_model_flags(made)
    command_line.add_prompt(made)
    command_line.add_max_tokens(made)
    command_line.add_seed(made)
    command_line.add_stop(made)
    made.add_argument("--mode", type=command_line.choice("greedy", "sample"), default="greedy")
    made.add_argument("--temperature", type=command_line.number(float, 0, 2), default=0.0)
    return made


def fails(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that `arguments` are answered with."""

    def main(argv):
        command_line.read_prompt(parser().parse_args(argv))

    assert command_line.run(main, arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


def test_help_shows_flags_defaults_and_examples(capsys):
    assert command_line.run(lambda argv: parser().parse_args(argv), ["--help"]) == 0
    out = capsys.readouterr().out
    assert "--max-tokens" in out
    assert "(storyteller)" not in out.split("model:")[0]
    assert "a name on the hub (storyteller)" in " ".join(out.split())
    assert "python -m stages.demo --prompt 'Hello'" in out


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--promt", "x"], ["--promt", "did you mean '--prompt'"]),
        (["--max-token=3"], ["--max-token=3", "did you mean '--max-tokens'"]),
        (["extra"], ["unknown argument 'extra'"]),
        (["--mode", "gredy"], ["--mode", "'gredy'", "greedy, sample", "did you mean 'greedy'"]),
        (["--max-tokens", "0"], ["--max-tokens", "'0'", "at least 1"]),
        (["--max-tokens", "1.5"], ["'1.5'", "a whole number"]),
        (["--temperature", "nan"], ["'nan'", "between 0 and 2"]),
        (["--temperature", "inf"], ["'inf'", "between 0 and 2"]),
        (["--seed", "-1"], ["--seed", "at least 0"]),
        (["--prompt"], ["--prompt", "expected one argument"]),
        (["--prompt", "a", "--prompt-file", "b"], ["--prompt-file", "not allowed with"]),
        (["--prompt-file", "no-such-file.txt"], ["no-such-file.txt", "No such file"]),
    ],
)
def test_bad_input_is_one_line_that_names_what_was_given_and_what_is_possible(arguments, parts, capsys):
    line = fails(arguments, capsys)
    for part in parts:
        assert part in line


def test_user_error_becomes_one_line_and_status_two(capsys):
    def main(argv):
        raise UserError("--model 'x':\n not known")

    assert command_line.run(main) == 2
    assert capsys.readouterr().err == "error: --model 'x': not known\n"


def test_a_programming_error_keeps_its_traceback():
    def main(argv):
        raise ValueError("a bug, not the user's")

    with pytest.raises(ValueError, match="a bug"):
        command_line.run(main)


def test_hub_errors_become_one_line(capsys):
    errors = pytest.importorskip("huggingface_hub.errors")

    def main(argv):
        raise errors.OfflineModeIsEnabled("Cannot reach the hub:\noffline mode is enabled.")

    assert command_line.run(main) == 2
    assert (
        capsys.readouterr().err
        == "error: the hub cannot be used: Cannot reach the hub: offline mode is enabled.\n"
    )


def test_interrupt_ends_quietly_with_130(capsys):
    def main(argv):
        raise KeyboardInterrupt

    assert command_line.run(main) == 130
    assert capsys.readouterr().err == "\n"


@pytest.mark.parametrize("write", ["print('x' * 100)", "console.write('x' * 100)"])
def test_a_reader_that_leaves_is_no_error(write):
    program = (
        "import sys; from common.terminal import command_line; from common.terminal.console import *\n"
        f"def main(argv):\n    while True: {write}\n"
        "sys.exit(command_line.run(main))"
    ).replace("console.write", "write")
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 141


def test_a_reader_that_left_before_the_last_flush_is_no_error():
    program = (
        "import sys; from common.terminal import command_line\n"
        "def main(argv):\n    sys.stdin.read(); print('short')\n"
        "sys.exit(command_line.run(main))"
    )
    pipe = subprocess.PIPE
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=pipe, stdout=pipe, stderr=pipe, env=buffered
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stdin.close()  # only now does the program print
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 141


def test_status_of_main_is_kept():
    assert command_line.run(lambda argv: 3) == 3
    assert command_line.run(lambda argv: None) == 0


def test_prompt_comes_from_flag_file_or_stdin(tmp_path, monkeypatch):
    path = tmp_path / "a prompt.txt"
    path.write_bytes("Es war einmal …\r\n two\n\n".encode())
    assert command_line.read_prompt(parser().parse_args([])) == "Once upon a time"
    assert command_line.read_prompt(parser().parse_args(["--prompt", " \"q\" 'x'"])) == " \"q\" 'x'"
    assert (
        command_line.read_prompt(parser().parse_args(["--prompt-file", str(path)]))
        == "Es war einmal …\n two\n"
    )
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"from a pipe\n")))
    assert command_line.read_prompt(parser().parse_args(["--prompt-file", "-"])) == "from a pipe"


def test_a_prompt_file_that_is_not_text_is_refused(tmp_path, capsys):
    path = tmp_path / "image.png"
    path.write_bytes(b"abc\xff")
    assert "is not UTF-8 text (byte 3)" in fails(["--prompt-file", str(path)], capsys)


def test_choose_names_field_value_options_and_the_likely_one():
    assert command_line.choose("model", "b", ["a", "b"]) == "b"
    with pytest.raises(
        UserError, match=r"^model: 'storyteler' is not one of storyteller, other; did you mean"
    ):
        command_line.choose("model", "storyteler", ["storyteller", "other"])


@pytest.mark.parametrize(
    ("argv", "own", "passed"),
    [
        (["--stage", "06"], ["--stage", "06"], []),
        (["--stage", "06", "--", "--max-num-seqs", "4"], ["--stage", "06"], ["--max-num-seqs", "4"]),
        (["--", "a", "--", "b"], [], ["a", "--", "b"]),
        ([], [], []),
    ],
)
def test_flags_after_two_dashes_are_for_another_program(argv, own, passed):
    assert command_line.split_options(argv) == (own, passed)
