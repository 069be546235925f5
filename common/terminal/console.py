"""One look for all terminal output, over rich. Knows no models and computes nothing.

With a terminal: colour, bars and a live view. Without one (a pipe, CI, an article): the same words as plain text,
no control codes, at a fixed width. NO_COLOR and FORCE_COLOR are honoured; COLUMNS sets the width.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any, NamedTuple

from rich import box
from rich.cells import cell_len
from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

__all__ = [
    "Candidate",
    "Flow",
    "Group",
    "View",
    "bar",
    "candidates",
    "console",
    "facts",
    "heading",
    "last_words",
    "live",
    "make_console",
    "make_table",
    "note",
    "panel",
    "piece",
    "printable",
    "progress",
    "show",
    "show_pieces",
    "table",
    "warn",
    "write",
]

PLAIN_WIDTH = 100
ACCENT, QUIET = "cyan", "bright_black"

# Model output is data: an escape sequence in it must not steer the terminal.
_CONTROLS = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t"}
_CONTROLS |= {0x7F: "␡"} | {code: f"\\x{code:02x}" for code in range(0x80, 0xA0)}
_VISIBLE = _CONTROLS | {ord(" "): "·", ord("\n"): "↵", ord("\t"): "⇥", ord("\r"): "␍"}


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # `command_line.run` knows what to do; rich would end the process here


def make_console(
    file: IO[str] | None = None, environ: Mapping[str, str] | None = None, stderr: bool = False
) -> Console:
    """A console for `file` (default: whatever sys.stdout is at the time of printing)."""
    environ = os.environ if environ is None else environ
    target = file or (sys.stderr if stderr else sys.stdout)
    terminal = _is_terminal(target) and environ.get("TERM") != "dumb"
    no_color = environ.get("NO_COLOR", "") != ""
    forced = environ.get("FORCE_COLOR", "0") not in ("", "0") and not no_color
    columns = environ.get("COLUMNS", "")
    width = max(int(columns), 20) if columns.isdigit() and int(columns) else None
    return _Console(
        file=file,
        stderr=stderr,
        force_terminal=terminal or forced,
        force_interactive=terminal,
        no_color=no_color,
        width=width or (None if terminal else PLAIN_WIDTH),
        # Text is printed as it is: "[bold]" or ":smile:" in a story are not instructions to us.
        markup=False,
        emoji=False,
        highlight=False,
    )


def _is_terminal(stream: IO[str]) -> bool:
    try:
        return stream.isatty()
    except ValueError:  # closed
        return False


console = make_console()


def show(*renderables: RenderableType) -> None:
    """Print rich renderables, one below the other."""
    for renderable in renderables:
        if console.is_terminal:
            console.print(renderable)
            continue
        with console.capture() as captured:
            console.print(renderable)
        lines = captured.get().splitlines()  # rich pads to the full width; in a file that is noise
        console.out("\n".join(line.rstrip() for line in lines), highlight=False)


def write(text: str = "", end: str = "", style: str | None = None) -> None:
    """Text at once and as it is: lines are never wrapped."""
    console.print(Text(printable(text), style=style or ""), end=end, soft_wrap=True)


class Flow:
    """Text from a model, shown as it arrives, with lines broken between words.

    A word is shown when it is complete, because only then do we know whether it fits on the line. `end` shows
    the last one. indent: how far lines are moved to the right. column: where the line stands; set it after writing
    something else on it.
    """

    def __init__(self, indent: int = 0) -> None:
        self.indent = indent
        self.column = 0
        self._spaces = ""  # before the word, dropped where the line is broken
        self._word: list[tuple[str, str | None]] = []

    def write(self, text: str, style: str | None = None) -> None:
        for part in re.findall(r"\n|[^\S\n]+|\S+", printable(text)):
            if not part.isspace():
                self._word.append((part, style))
                continue
            self._show_word()
            if part == "\n":
                write(end="\n")
                self.column, self._spaces = 0, ""
            else:
                self._spaces += part

    def end(self) -> None:
        """Shows what is left and ends the line, unless it is empty."""
        self._show_word()
        if self.column:
            write(end="\n")
        self.column, self._spaces = 0, ""

    def _show_word(self) -> None:
        if not self._word:
            return
        width = sum(cell_len(part) for part, _ in self._word)
        if self.column and self.column + len(self._spaces) + width > console.width:
            write(end="\n")
            self.column, self._spaces = 0, ""
        before = self._spaces if self.column else " " * self.indent + self._spaces
        write(before)
        for part, style in self._word:
            write(part, style=style)
        self.column += len(before) + width
        self._spaces, self._word = "", []


def heading(text: str) -> None:
    rule = Rule(Text(text, style="bold"), align="left", style=QUIET)
    show("", rule)


def note(text: str) -> None:
    """Something on the side: what to read next, why a number is as it is."""
    show(Text(text, style=QUIET))


def warn(text: str) -> None:
    show(Text.assemble(("note: ", "bold yellow"), text))


def panel(text: RenderableType, title: str | None = None) -> None:
    content = Text(printable(text)) if isinstance(text, str) else text
    head = Text(title, style="bold") if title else None
    show(Panel(content, title=head, title_align="left", border_style=QUIET, padding=(0, 1)))


def facts(pairs: Mapping[str, object]) -> None:
    """Names and values in two columns."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style=QUIET, no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in pairs.items():
        grid.add_row(name, _cell(value))
    show(grid)


def make_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    title: str | None = None,
    mark: int | None = None,
) -> Table:
    """A table; columns of numbers are set right. mark: index of a row to bring out."""
    rows = [list(row) for row in rows]
    made = Table(
        title=Text(title, style="bold") if title else None,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        header_style=QUIET,
        border_style=QUIET,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for index, name in enumerate(columns):
        cells = [row[index] for row in rows]
        made.add_column(Text(name), justify="right" if _numeric(cells) else "left", overflow="fold")
    for index, row in enumerate(rows):
        made.add_row(*map(_cell, row), style="bold" if index == mark else None)
    return made


def table(title: str | None, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    show("", make_table(columns, rows, title), "")


def _cell(value: object) -> RenderableType:
    if isinstance(value, Text):
        return value
    if isinstance(value, Mapping):
        value = ", ".join(f"{name} {inner}" for name, inner in value.items())
    return Text(printable(f"{value:,}" if type(value) is int else str(value)))


def _numeric(cells: Sequence[object]) -> bool:
    return bool(cells) and all(
        isinstance(cell, (int, float)) or (isinstance(cell, str) and cell.lstrip("-+")[:1].isdigit())
        for cell in cells
    )


def printable(text: str) -> str:
    """`text` with its control characters (but newline and tab) as visible signs."""
    return text.translate(_CONTROLS)


def piece(text: str) -> str:
    """A token's text on one line: spaces as `·`, newlines as `↵`. Vocabulary pieces (`Ġworld`) stay as they are."""
    return text.translate(_VISIBLE) or "∅"


def last_words(text: str, width: int) -> str:
    """The end of a text on one line of at most `width` characters, cut between words."""
    shown = printable(" ".join(text.split()))
    if len(shown) <= width:
        return shown
    return "…" + shown[-width + 1 :].partition(" ")[2]


def bar(share: float, width: int = 20) -> str:
    """A horizontal bar for a share in [0, 1]; eighth blocks, so that small differences show."""
    eighths = round(max(0.0, min(share, 1.0)) * width * 8)
    return "█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()


class Candidate(NamedTuple):
    """One line of a candidates table."""

    text: str
    token_id: int
    probability: float
    logit: float | None = None


def candidates(rows: Sequence[Candidate], chosen: int | None = 0, title: str | None = None) -> Table:
    """The likeliest next tokens, with a bar each. chosen: index of the row that was taken."""
    with_logits = any(row.logit is not None for row in rows)
    lines = []
    for rank, row in enumerate(rows, start=1):
        logit = [f"{row.logit:.2f}" if row.logit is not None else "-"] if with_logits else []
        drawn = Text(bar(row.probability), style=ACCENT)
        lines.append(
            [rank, piece(row.text), str(row.token_id), *logit, f"{100 * row.probability:.1f} %", drawn]
        )
    names = ["", "token", "id", *(["logit"] if with_logits else []), "p", ""]
    return make_table(names, lines, title, mark=chosen)


def show_pieces(pieces: Sequence[str], ids: Sequence[int] | None = None) -> None:
    """Tokens side by side, each over its id."""
    shown = []
    for index, text in enumerate(pieces):
        colour = ("bold cyan", "bold magenta")[index % 2]
        cell = Text(piece(text), style=colour)
        if ids is not None:
            cell.append(f"\n{ids[index]}", style=QUIET)
        shown.append(cell)
    show(Columns(shown, padding=(0, 2)))


class View:
    """What `live` hands out. On a terminal the last renderable is redrawn in place; elsewhere lines are printed."""

    def __init__(self, screen: Live | None) -> None:
        self._screen = screen
        self._last: RenderableType | None = None

    def update(self, renderable: RenderableType, line: str | None = None) -> None:
        """renderable: the whole view. line: what is said instead where nothing can be redrawn."""
        self._last = renderable
        if self._screen is not None:
            self._screen.update(renderable, refresh=True)
        elif line is not None:
            write(line, end="\n")

    def _end(self) -> None:
        if self._screen is None and self._last is not None:
            show(self._last)


@contextmanager
def live() -> Iterator[View]:
    """`with live() as view: view.update(table, "step 3: ...")`. The last state stays on screen in both cases."""
    if not console.is_interactive:
        view = View(None)
        yield view
        view._end()
        return
    with Live(console=console, auto_refresh=False, vertical_overflow="crop") as screen:
        yield View(screen)


@contextmanager
def progress(label: str, total: float, every: float = 10.0) -> Iterator[Callable[..., None]]:
    """`with progress("training", steps) as advance: advance()`: a bar on stderr, so that stdout stays clean.

    Without a terminal a line of percent every `every` seconds, so short work says nothing.
    """
    errors = make_console(stderr=True)
    if not errors.is_interactive:
        yield _percent_lines(errors, label, total, every)
        return
    columns: list[Any] = [TextColumn("{task.description}"), BarColumn(), TaskProgressColumn()]
    with Progress(*columns, TimeRemainingColumn(), console=errors, transient=True) as bars:
        task = bars.add_task(label, total=total)
        yield lambda amount=1.0: bars.advance(task, amount)


def _percent_lines(errors: Console, label: str, total: float, every: float) -> Callable[..., None]:
    done, said, start = 0.0, time.monotonic(), time.monotonic()

    def advance(amount: float = 1.0) -> None:
        nonlocal done, said
        done += amount
        now = time.monotonic()
        if now - said >= every:
            said = now
            errors.print(f"{label}: {100 * done / total:.0f} % after {now - start:.0f} s")

    return advance
