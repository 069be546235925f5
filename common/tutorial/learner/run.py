"""`make stage-NN`: the question and the idea, the stage's demo, its number, and what to do next.

The demo is the stage's own `__main__`; every flag given here goes to it. What the number is, the
manifest's [headline] says.
"""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from common.errors import UserError
from common.terminal.console import heading, note, show
from common.tutorial.chain import ROOT, Stage, find_stage, neighbour

__all__ = ["main", "run_module", "show_headline", "show_next"]

USAGE = "usage: python -m common.tutorial run NN [the demo's flags; NN --help lists them]"


def run_module(name: str, flags: Sequence[str]) -> int:
    """Run module `name` as `python -m` would, in this process. Returns its exit status."""
    sys.argv = [name, *flags]
    try:
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
            return 1
        return end.code or 0
    return 0


def recorded_together(stage: Stage) -> bool:
    """Whether the headline's two numbers come from one result file, that is from one interleaved run."""
    head = stage.manifest.headline
    if head is None or head.before is None:
        return False
    files = re.findall(
        r"\br\(\s*('[^']*'|\"[^\"]*\")\s*,\s*('[^']*'|\"[^\"]*\")", f"{head.before} {head.after}"
    )
    return len({tuple(part.strip("'\"") for part in pair) for pair in files}) == 1


def readable(number: float) -> str:
    """12,345 or 1.23: three digits at least, no exponent."""
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.3g}"


def show_headline(stage: Stage) -> None:
    """The stage's recorded number, beside the previous stage's where one run recorded both."""
    from common.tutorial.chain.claims import evaluate_number, recorded
    from common.tutorial.chain.spread import no_difference, recorded_samples

    head = stage.manifest.headline
    if head is None:
        return
    r = recorded(ROOT)
    try:
        after = evaluate_number(head.after, r)
        before = evaluate_number(head.before, r) if head.before and recorded_together(stage) else None
        equal = before is not None and no_difference(str(head.before), head.after, r, recorded_samples(ROOT))
    except UserError:
        note(f"{head.label}: not recorded yet; make bench-{stage.nn} measures it here")
        return
    if equal:
        text = f"= ({readable(before or 0)} and {readable(after)} {head.unit}: no difference that we could measure)"
    elif before is None:
        text = f"{readable(after)} {head.unit}"
    else:
        text = f"{readable(before)} -> {readable(after)} {head.unit}"
        if before > 0 and after > 0:
            factor = after / before if head.better == "higher" else before / after
            text += f" ({factor:.2f}x{'' if factor >= 1 else ', worse'})"
    previous = neighbour(stage, -1)
    beside = f", stage {previous.nn} -> {stage.nn}" if before is not None and previous else ""
    show(Text.assemble((head.label, "bold"), f" (recorded{beside}): {text}"))


def show_next(stage: Stage) -> None:
    """Commands that go on from here; only what exists is named."""
    lines = []
    if neighbour(stage, -1):
        lines.append((f"make diff-{stage.nn}", "the lesson as a diff"))
    if any((ROOT / "articles").glob(f"{stage.nn}-*.md")):
        lines.append((f"make article-{stage.nn}", "the article that goes with it"))
    lines += [
        (f"make test-{stage.nn}", "its promises, tested"),
        (f"make bench-{stage.nn}", "its number, measured on this machine"),
    ]
    exercises = sorted(path.stem for path in (stage.folder / "exercises").glob("ex[0-9]*.py"))
    if exercises:
        where = (stage.folder / "exercises").relative_to(ROOT).as_posix()
        lines.append((f"{where}/", ", ".join(exercises)))
    if after := neighbour(stage, 1):
        lines.append((f"make stage-{after.nn}", f"next: {after.manifest.question}"))
    grid = Table.grid(padding=(0, 2, 0, 0), pad_edge=True)
    for command, text in lines:
        grid.add_row(Text(f"  {command}", no_wrap=True), Text(text))
    show(grid)


def main(argv: list[str]) -> int:
    if not argv or argv[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if argv else 2
    stage, flags = find_stage(argv[0]), argv[1:]
    if "-h" in flags or "--help" in flags:
        return run_module(stage.package, flags)
    heading(f"Stage {stage.nn}: {stage.title}")
    show(Text(stage.manifest.question, style="bold"), stage.manifest.idea, "")
    status = run_module(stage.package, flags)
    if status == 0:
        show("")
        show_headline(stage)
        show_next(stage)
    return status
