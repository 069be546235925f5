"""How far a run is and how long it will take: a bar on a terminal, now and then a line elsewhere, both on stderr."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from common.terminal.console import make_console

__all__ = ["Estimate", "Meter", "meter", "spoken"]

EVERY = 15.0  # seconds between two lines where there is no terminal


class Estimate:
    """Seconds left, from what each unit took before. One not seen yet takes as long as most others."""

    def __init__(self, units: Sequence[str]):
        self.left_units = list(units)  # one for each time that it will run
        self.seen: dict[str, list[float]] = {}

    def done(self, unit: str, seconds: float | None = None) -> None:
        """seconds: None where it was not run, but had been before."""
        if unit in self.left_units:
            self.left_units.remove(unit)
        if seconds is not None:
            self.seen.setdefault(unit, []).append(max(seconds, 0.0))

    def left(self, under_way: float = 0.0) -> float | None:
        """None while nothing is known. under_way: seconds that the next unit has run already."""
        if not self.seen:
            return None
        means = {unit: sum(took) / len(took) for unit, took in self.seen.items()}
        # A median: one slow stage says nothing of the rest.
        other = sorted(means.values())[(len(means) - 1) // 2]
        each = [means.get(unit, other) for unit in self.left_units]
        if each:
            each[0] = max(each[0] - max(under_way, 0.0), 0.0)
        return sum(each)


def spoken(seconds: float | None) -> str:
    """ "about 4 min left"."""
    if seconds is None:
        return ""
    return f"about {seconds / 60:.0f} min left" if seconds >= 90 else f"about {seconds:.0f} s left"


class Meter:
    """What `meter` hands out."""

    def __init__(self, units: Sequence[str]):
        self.estimate, self.total = Estimate(units), len(units)
        self.count, self.begin, self.said = 0, time.monotonic(), time.monotonic()
        self.label = ""

    def start(self, label: str) -> None:
        """A unit begins."""
        self.label, self.begin = label, time.monotonic()
        self.show()

    def done(self, unit: str, ran: bool = True) -> None:
        self.estimate.done(unit, time.monotonic() - self.begin if ran else None)
        self.count += 1
        self.begin = time.monotonic()
        self.show()

    @property
    def text(self) -> str:
        return spoken(self.estimate.left(time.monotonic() - self.begin))

    def show(self) -> None:
        """A line, if the last one is long ago."""
        now = time.monotonic()
        if now - self.said >= EVERY and self.count:
            self.said = now
            errors = make_console(stderr=True)
            errors.print(f"{self.count} of {self.total} done, {self.text}; now {self.label}", soft_wrap=True)


@contextmanager
def meter(units: Sequence[str]) -> Iterator[Meter]:
    """`with meter(units) as shown: shown.start("round 1, stage 02"); shown.done("s02")`."""
    errors = make_console(stderr=True)
    made = Meter(units)
    if not errors.is_interactive:
        yield made
        return
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
    from rich.text import Text

    class Left(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(made.text, style="bright_black")

    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed} of {task.total}"),
        Left(),
    ]
    with Progress(*columns, console=errors, transient=True) as bars:
        task = bars.add_task("", total=made.total)
        made.show = lambda: bars.update(task, description=made.label, completed=made.count)  # type: ignore[method-assign]
        yield made
