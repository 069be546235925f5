"""Two readers of one answer, side by side: one that gets it whole, and one that reads it as a stream.

The server answers one request at a time, so each is measured alone; what they had at each moment is then shown side by side,
slowed down, because a small model writes faster than people read.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field

from rich.table import Table
from rich.text import Text

from common.terminal.console import QUIET, console, live, make_table, note, printable, show

from .wire import Call, curl, payload, text_of

REPLAY_S, FRAMES_PER_S = 5.0, 25
# Shown where nothing can be redrawn, as parts of the time after the first text.
MOMENTS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(slots=True)
class Reader:
    """Which text reached a client, and when, in seconds since its request."""

    name: str
    texts: list[tuple[float, str]] = field(default_factory=list)

    @property
    def first(self) -> float:
        return self.texts[0][0]

    @property
    def last(self) -> float:
        return self.texts[-1][0]

    def at(self, seconds: float) -> str:
        """The text that has arrived after `seconds`."""
        return "".join(text for when, text in self.texts if when <= seconds)


def whole_reader(call: Call, url: str) -> Reader:
    """A client of a chat that does not stream."""
    reader = Reader("not streamed")

    def on_line(seconds: float, line: str) -> None:
        reader.texts.append((seconds, json.loads(line)["choices"][0]["message"]["content"]))

    curl(call, url, on_line)
    return reader


def stream_reader(call: Call, url: str) -> Reader:
    """A client of a chat that streams."""
    reader = Reader("streamed")

    def on_line(seconds: float, line: str) -> None:
        if text := text_of(payload(line) or {"choices": []}):
            reader.texts.append((seconds, text))

    curl(call, url, on_line)
    return reader


def replay(*readers: Reader) -> None:
    """Shows what each reader has as time goes by: redrawn on a terminal, elsewhere as a table of moments."""
    end = max(reader.last for reader in readers if reader.texts)
    if not console.is_interactive:
        first = min(reader.first for reader in readers if reader.texts)
        moments = [first + part * (end - first) for part in MOMENTS]
        rows = [[milliseconds(at), *(shown(reader, at) for reader in readers)] for at in moments]
        show("", make_table(["after", *(reader.name for reader in readers)], rows), "")
        return
    slower = max(1.0, REPLAY_S / end)
    note(
        f"what each reader has, {slower:.0f} times slower than it was"
        if slower > 1
        else "what each reader has"
    )
    frames = max(1, round(end * slower * FRAMES_PER_S))
    with live() as view:
        for number in range(frames + 1):
            view.update(frame(readers, end * number / frames))
            time.sleep(1 / FRAMES_PER_S)


def frame(readers: tuple[Reader, ...], seconds: float) -> Table:
    """The readers' columns after `seconds`, equally wide."""
    grid = Table.grid(padding=(0, 3, 0, 0), expand=True)
    for _ in readers:
        grid.add_column(ratio=1)
    grid.add_row(*(Text(f"{reader.name}, after {milliseconds(seconds)}", style=QUIET) for reader in readers))
    grid.add_row(*(shown(reader, seconds) for reader in readers))
    return grid


def shown(reader: Reader, seconds: float) -> Text:
    return Text(printable(reader.at(seconds)).strip()) if reader.at(seconds) else Text("-", style=QUIET)


def milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:,.0f} ms"
