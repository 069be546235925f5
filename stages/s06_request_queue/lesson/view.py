"""The queue for people: a table while it moves, lines if nothing can be redrawn, a timeline at the end.

Everything comes from the requests' own timestamps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from common.bench.colours import ROLES
from common.terminal.console import console, last_words, make_table

from ..engine import Request, Status
from .clients import Client

STYLES = {
    Status.WAITING: "yellow",
    Status.RUNNING: "bold cyan",
    Status.FINISHED: "green",
    Status.CANCELLED: "bright_black",
    Status.FAILED: "bold red",
}
WAIT, PREFILL, DECODE = "·", "▒", "█"
COLOURS = {WAIT: ROLES["waiting"], PREFILL: ROLES["computed"], DECODE: ROLES["computed"]}
OUTSIDE = 24  # columns beside the bars of the timeline
BESIDE = 53  # columns of the queue's table beside the texts


@dataclass(frozen=True, slots=True)
class Entry:
    """A client and its request."""

    client: Client
    request: Request


def queue_table(entries: Sequence[Entry], now: float) -> Table:
    """The state of each request; `now` in seconds of time.perf_counter."""
    rows, width = [], max(12, console.width - BESIDE)
    for e in entries:
        r, status = e.request, e.request.status
        waited = (r.started or r.finished or now) - r.arrived
        first = f"{r.first_token - r.arrived:.2f} s" if r.first_token else "-"
        tail = last_words(e.client.text, width)
        rows.append(
            [e.client.name, Text(status.value, style=STYLES[status]), f"{waited:.2f} s", first,
             f"{r.num_output_tokens}/{r.max_tokens}", f"{tail:<{width}}"]
        )  # fmt: skip
    return make_table(["client", "state", "waited", "first token", "tokens", "text so far"], rows)


class Milestones:
    """Reports each change of state once, in the order in which they happened."""

    def __init__(self, origin: float):
        self.origin = origin
        self.told: set[tuple[str, str]] = set()

    def news(self, entries: Sequence[Entry]) -> list[str]:
        found = []
        for e in entries:
            r = e.request
            ended = r.status if r.done else None
            for at, what in ((r.arrived, "waiting"), (r.started, "running"), (r.finished, ended)):
                if at and what and (r.id, what) not in self.told:
                    self.told.add((r.id, what))
                    found.append((at - self.origin, f"{e.client.name}: {what}"))
        return [f"{seconds:7.2f} s  {text}" for seconds, text in sorted(found)]


def timeline(entries: Sequence[Entry], width: int = 60) -> Text:
    """One line per request over a common time axis: waiting, prefill, decode."""
    begin = min(e.request.arrived for e in entries)
    end = max(e.request.finished for e in entries)
    scale = width / max(end - begin, 1e-9)
    drawn = Text()
    for e in entries:
        drawn.append(f"{e.client.name:>10}  ")
        drawn.append_text(bar(e.request, begin, scale, width))
        mark = e.request.status.value if e.request.status is not Status.FINISHED else ""
        drawn.append(f"  {mark}".rstrip() + "\n", style=STYLES[e.request.status])
    drawn.append(f"{'':>10}  0 s{f'{end - begin:.2f} s':>{width - 3}}\n", style="bright_black")
    drawn.append(f"{'':>10}  {WAIT} waits   {PREFILL} prefill   {DECODE} decode", style="bright_black")
    return drawn


def bar(r: Request, begin: float, scale: float, width: int) -> Text:
    """One request's line, `width` cells wide. Whatever took any time gets at least one cell."""
    started, first = r.started or r.finished, r.first_token or r.finished
    cells = [(" ", "")] * width
    for sign, since, until in (
        (WAIT, r.arrived, started),
        (DECODE, first, r.finished),
        (PREFILL, started, first),
    ):
        if until > since:
            low = min(int((since - begin) * scale), width - 1)
            high = max(low + 1, round((until - begin) * scale))
            cells[low:high] = [(sign, COLOURS[sign])] * (min(high, width) - low)
    return Text.assemble(*cells)
