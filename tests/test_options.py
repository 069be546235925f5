"""Options: one dataclass gives flags, environment variables, defaults and checks, and errors that name all three."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UserError
from common.options import Options, add_options, option, parse, read_options
from common.terminal.command_line import run, stage_parser


@dataclass(frozen=True, slots=True)
class Config(Options):
    device: str = option("auto", "where to run")
    max_seq_len: int | None = option(None, "longest text", least=2, most=4096)
    share: float = option(0.9, "of the memory", least=0, most=1)
    fused: bool = option(True, "fused kernels")
    mode: Literal["fast", "exact"] = option("fast", "how", choices=("fast", "exact"))


def read(*flags, environ=None):
    """What a command line with these flags makes of them."""
    parser = stage_parser("python -m server", "A server.")
    add_options(parser, Config)
    return read_options(Config, vars(parser.parse_args(list(flags))), environ or {})


def error_of(*flags, environ, capsys):
    assert run(lambda argv: read(*flags, environ=environ) and 0) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def test_without_a_word_every_field_has_its_default():
    assert read() == Config() == Config("auto", None, 0.9, True, "fast")


def test_a_flag_wins_over_the_environment_and_the_environment_over_the_default():
    environ = {"VITRINE_MAX_SEQ_LEN": "64", "VITRINE_SHARE": "0.5", "VITRINE_FUSED": "no"}
    assert read("--max-seq-len", "128", environ=environ) == Config(max_seq_len=128, share=0.5, fused=False)


def test_a_flag_that_says_the_default_still_wins_over_the_environment():
    assert (
        read("--mode", "fast", "--fused", environ={"VITRINE_MODE": "exact", "VITRINE_FUSED": "0"}) == Config()
    )


def test_variables_of_other_programs_are_left_alone():
    assert read(environ={"MAX_SEQ_LEN": "64", "DEVICE": "cuda", "VITRINE_OTHER": "1"}) == Config()


@pytest.mark.parametrize("word", ["none", "None", "auto", ""])
def test_an_optional_field_can_be_set_back_to_none(word):
    assert read(environ={"VITRINE_MAX_SEQ_LEN": word}).max_seq_len is None
    assert read("--max-seq-len", word, environ={"VITRINE_MAX_SEQ_LEN": "64"}).max_seq_len is None


def test_a_text_field_keeps_the_word_auto():
    assert read("--device", "auto", environ={"VITRINE_DEVICE": "cpu"}).device == "auto"


@pytest.mark.parametrize(
    ("word", "value"), [("1", True), ("YES", True), ("on", True), ("false", False), ("Off", False)]
)
def test_yes_and_no_have_several_spellings(word, value):
    assert read(environ={"VITRINE_FUSED": word}).fused is value


def test_a_switch_can_be_turned_off_by_its_flag():
    assert read("--no-fused").fused is False
    assert read("--fused", environ={"VITRINE_FUSED": "0"}).fused is True


@pytest.mark.parametrize(
    ("environ", "parts"),
    [
        ({"VITRINE_MAX_SEQ_LEN": "many"}, ("VITRINE_MAX_SEQ_LEN", "'many'", "whole number")),
        ({"VITRINE_MAX_SEQ_LEN": "12.5"}, ("VITRINE_MAX_SEQ_LEN", "'12.5'")),
        ({"VITRINE_SHARE": "half"}, ("VITRINE_SHARE", "'half'", "number")),
        ({"VITRINE_FUSED": "perhaps"}, ("VITRINE_FUSED", "'perhaps'", "yes", "no")),
        ({"VITRINE_MAX_SEQ_LEN": "1"}, ("max_seq_len = 1", "between 2 and 4096")),
        ({"VITRINE_SHARE": "1.5"}, ("share = 1.5", "between 0 and 1")),
        ({"VITRINE_MODE": "slow"}, ("mode = 'slow'", "fast, exact")),
    ],
)
def test_a_bad_variable_is_one_line_with_its_name_its_value_and_what_is_possible(environ, parts, capsys):
    error = error_of(environ=environ, capsys=capsys)
    assert all(part in error for part in parts), error


@pytest.mark.parametrize(
    ("flags", "parts"),
    [
        (["--max-seq-len", "many"], ("--max-seq-len", "'many'", "whole number")),
        (["--max-seq-len", "5000"], ("max_seq_len = 5000", "between 2 and 4096")),
        (["--share", "-0.1"], ("share = -0.1", "between 0 and 1")),
        (["--mode", "slow"], ("mode = 'slow'", "fast, exact")),
        (["--max-seq-length", "5"], ("unknown argument", "did you mean '--max-seq-len'")),
    ],
)
def test_a_bad_flag_is_one_line_with_its_name_its_value_and_what_is_possible(flags, parts, capsys):
    error = error_of(*flags, environ={}, capsys=capsys)
    assert all(part in error for part in parts), error


def test_bad_flags_hide_behind_no_good_variable(capsys):
    assert "max_seq_len = 1" in error_of(
        "--max-seq-len", "1", environ={"VITRINE_MAX_SEQ_LEN": "64"}, capsys=capsys
    )


def test_the_bounds_themselves_are_allowed():
    assert Config(max_seq_len=2, share=0).share == 0
    assert Config(max_seq_len=4096, share=1).max_seq_len == 4096


@pytest.mark.parametrize(
    ("name", "value", "possible"),
    [
        ("device", None, "a string"), ("device", 3, "a string"), ("device", ["cpu"], "a string"),
        ("max_seq_len", "64", "a whole number or None"), ("max_seq_len", 64.0, "a whole number or None"),
        ("max_seq_len", True, "a whole number or None"), ("share", None, "a number"), ("share", "1", "a number"),
        ("share", False, "a number"), ("fused", 1, "True or False"), ("fused", None, "True or False"),
        ("mode", 1, "a string"),
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_type_is_refused_with_its_name_and_what_is_possible(name, value, possible):
    with pytest.raises(UserError) as error:
        Config(**{name: value})
    assert str(error.value) == f"{name} = {value!r}: must be {possible}"


def test_a_long_value_is_cut_in_the_message():
    with pytest.raises(UserError) as error:
        Config(device=["cpu"] * 1000)
    assert len(str(error.value)) < 100


@pytest.mark.parametrize("word", ["nan", "inf", "-inf"])
def test_a_number_that_is_none_is_refused(word):
    with pytest.raises(UserError, match=f"VITRINE_SHARE = '{word}' is not a number"):
        read(environ={"VITRINE_SHARE": word})
    with pytest.raises(UserError, match="share = "):
        Config(share=float(word))


def test_help_names_every_flag_with_its_default(capsys):
    with pytest.raises(SystemExit):
        read("--help")
    out = " ".join(capsys.readouterr().out.split())
    for text in (
        "--device DEVICE",
        "--max-seq-len INT longest text (none)",
        "--share FLOAT",
        "(0.9)",
        "--fused, --no-fused",
    ):
        assert text in out, text


@given(st.integers(-(10**6), 10**6))
def test_whole_numbers_come_back_as_they_were_written(value):
    assert parse("field", str(value), int, optional=True) == value


@given(st.text(max_size=12))
def test_any_word_is_a_value_or_a_user_error(word):
    for kind in (int, float, bool, str):
        for optional in (True, False):
            with suppress(UserError):
                value = parse("field", word, kind, optional)
                none = optional and word.lower() in ("", "none", "auto")
                assert value is None if none else isinstance(value, kind)
