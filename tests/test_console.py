"""Promises of `common.terminal.console`: plain without a terminal, safe with a model's output, readable at 80 columns."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.terminal import console as ui

SAMPLE = """
from common.terminal.console import *
heading("A heading")
facts({"model": "storyteller", "parameters": 12345678, "versions": {"python": "3.11", "torch": "2"}})
table("Times", ["tokens", "ms"], [[64, 1.5], [128, 3.25]])
show(candidates([Candidate(" world", 995, 0.5, 3.2), Candidate("\\n", 198, 0.25, 1.1)]))
show_pieces(["Once", " upon"], [10, 20])
with live() as view:
    view.update("first view", "first line")
    view.update("last view", "second line")
with progress("working", 3) as advance:
    for _ in range(3): advance()
panel("[bold]not markup[/bold] :smile:", "story")
write("\\x1b[31mred? "); write("a\\x9bb\\r", end="\\n")
"""


def plain(environ: dict[str, str]) -> subprocess.CompletedProcess[str]:
    cleaned = {
        name: value
        for name, value in os.environ.items()
        if name not in ("COLUMNS", "NO_COLOR", "FORCE_COLOR")
    }
    return subprocess.run(
        [sys.executable, "-c", SAMPLE],
        capture_output=True,
        encoding="utf-8",
        env=cleaned | {"PYTHONIOENCODING": "utf-8"} | environ,
        timeout=60,
        check=True,
    )


def on_terminal(environ: dict[str, str]) -> str:
    """What the sample writes to a pseudo-terminal."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", SAMPLE],
        stdout=follower,
        stderr=follower,
        env=os.environ | {"TERM": "xterm-256color", "COLUMNS": "80"} | environ,
    )
    os.close(follower)
    written = b""
    try:
        while chunk := os.read(leader, 4096):
            written += chunk
    except OSError:  # Linux says so when the other end is closed
        pass
    os.close(leader)
    assert process.wait(timeout=60) == 0
    return written.decode()


def test_without_a_terminal_no_control_codes_and_every_word():
    done = plain({})
    assert "\x1b" not in done.stdout
    assert "\r" not in done.stdout
    assert done.stderr == ""
    assert not [line for line in done.stdout.splitlines() if line != line.rstrip()]
    for words in (
        "A heading",
        "12,345,678",
        "python 3.11, torch 2",
        "·world",
        "↵",
        "50.0 %",
        "·upon",
        "first line",
        "second line",
    ):
        assert words in done.stdout
    assert "first view" not in done.stdout
    assert "last view" in done.stdout


def test_text_is_data_and_never_markup_or_control_code():
    out = plain({}).stdout
    assert "[bold]not markup[/bold] :smile:" in out
    assert "␛[31mred? a\\x9bb␍" in out


@pytest.mark.parametrize(("columns", "width"), [("", 100), ("80", 80), ("abc", 100), ("0", 100), ("40", 40)])
def test_width_without_a_terminal_is_fixed_or_from_columns(columns, width):
    lines = plain({"COLUMNS": columns}).stdout.splitlines()
    assert max(map(len, lines)) == width


def test_force_color_colours_a_pipe_but_never_moves_the_cursor():
    out = plain({"FORCE_COLOR": "1"}).stdout
    assert "\x1b[" in out
    assert "first line" in out
    assert "\x1b[?25l" not in out
    assert "\x1b[" not in plain({"FORCE_COLOR": "1", "NO_COLOR": "1"}).stdout


def test_a_terminal_gets_colour_and_a_live_view():
    out = on_terminal({"NO_COLOR": "", "FORCE_COLOR": ""})
    assert "\x1b[36m" in out or "\x1b[1;36m" in out
    assert "\x1b[?25l" in out
    assert "last view" in out
    assert "first line" not in out
    assert "working" in out


def test_no_color_keeps_a_terminal_without_colour():
    out = on_terminal({"NO_COLOR": "1"})
    assert "36m" not in out
    assert "last view" in out


def test_a_dumb_terminal_is_treated_as_none():
    assert "\x1b" not in on_terminal({"TERM": "dumb", "FORCE_COLOR": ""})


@settings(deadline=None)
@given(st.text())
def test_printable_and_piece_let_no_control_character_through(text):
    assert not set(ui.printable(text)) & {chr(c) for c in (*range(9), *range(11, 32), *range(0x7F, 0xA0))}
    shown = ui.piece(text)
    assert shown
    assert " " not in shown
    assert "\n" not in shown


def test_piece_shows_what_cannot_be_seen():
    assert ui.piece(" world") == "·world"
    assert ui.piece("\n\n") == "↵↵"
    assert ui.piece("") == "∅"
    assert ui.piece("Ġworld") == "Ġworld"


def test_write_streams_long_text_without_wrapping():
    out = io.StringIO()
    made = ui.make_console(out, {"COLUMNS": "30"})
    made.print("x" * 100, soft_wrap=True, end="")
    assert out.getvalue() == "x" * 100


@settings(deadline=None)
@given(st.lists(st.text("ab \n", max_size=7)), st.integers(20, 40))
def test_a_flow_breaks_lines_between_words_wherever_tokens_are_cut(parts, width):
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ui, "console", ui.make_console(out, {"COLUMNS": str(width)}))
        flow = ui.Flow(indent=2)
        for part in parts:
            flow.write(part)
        flow.end()
    assert out.getvalue().split() == "".join(parts).split()
    assert all(len(line) <= width or " " not in line.strip() for line in out.getvalue().splitlines())


@pytest.mark.parametrize("share", [-1.0, 0.0, 0.001, 0.5, 1.0, 2.0])
def test_bar_stays_within_its_width(share):
    assert len(ui.bar(share, 10)) <= 10
    assert ui.bar(1.0, 10) == "█" * 10
    assert ui.bar(0.0) == ""


def test_progress_says_percent_where_there_is_no_bar(capsys):
    with ui.progress("training", 4, every=0.0) as advance:
        advance()
        advance(3)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[0].startswith("training: 25 %")
    assert err.splitlines()[1].startswith("training: 100 %")
