"""Draws `articles/figures/*.toml` as SVG: pictures of state, of a recorded trace, and charts of results.

A figure is data, so that it can be checked: what shows a trace or a result is drawn from it, never by
hand. One file is one figure; `kind` says which:

    kind = "state"                       rows of cells, see `drawing`
    title = "what the picture shows, for those who cannot see it"
    names = { r = "read by the new token" }           other words in the legend
    [[panel]]
    title = "after the prompt"
    [[panel.row]]
    label = "K, V"
    cells = ["Once", "·upon", "·a", ""]
    marks = "wwwf"                       w computed, v many tokens computed, r reused, k kept, s shared, c and p wasted,
                                         q waits, f free, n none of these, t text alone, . nothing; see `drawing`
    index = ["0", "1", "2", "3"]
    brackets = [[0, 2, "context"]]
    note = "..."
    [[panel]]
    title = "step 2"
    trace = { stage = 3, request = "A", step = 2, places = 7 }     in place of rows: a step of the trace

    kind = "lines"                       a chart of a result file
    title, xlabel, ylabel = "..."
    result = ["s03", "cpu"]
    log = ["x", "y"]
    lines = [{ label = "with the cache", key = "cached_{tokens}", scale = 1.0, dashed = false }]

    kind = "terminal"                    a recording of a command's output, see `record`
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import tomllib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from common.bench.results import load_result
from common.errors import UserError
from common.terminal.console import piece
from common.tutorial.chain import ROOT
from common.tutorial.texts import drawing, record

FOLDER = ROOT / "articles" / "figures"
_PANEL = {"title", "row", "trace"}
_ROW = {"label", "cells", "marks", "index", "brackets", "note"}


def render(path: Path, root: Path = ROOT) -> str:
    """The SVG text of the figure that `path` (TOML) describes. Raises UserError naming the file and the field."""
    try:
        spec = tomllib.loads(path.read_text(encoding="utf-8"))
        if spec.get("kind") == "state":
            return _state(spec)
        if spec.get("kind") == "lines":
            return _lines(spec, path, root)
        if spec.get("kind") == "terminal":
            return record.draw(path.stem, spec, root)
        raise UserError(f"kind {spec.get('kind')!r} must be 'state', 'lines' or 'terminal'")
    except KeyError as error:
        raise UserError(f"{path.name}: {error.args[0]} is missing") from None
    except (tomllib.TOMLDecodeError, UserError) as error:
        raise UserError(f"{path.name}: {error}") from None


def is_current(path: Path, root: Path = ROOT, run: bool = False) -> bool:
    """Whether the SVG beside `path` shows what `path` and the results say today.

    run: execute the commands of recordings too; without, a recording is judged by its description alone.
    State pictures are compared byte for byte. A chart is drawn by matplotlib, whose bytes differ between
    versions: there the hash of what was drawn is compared, which is in the file.
    """
    drawn = path.with_suffix(".svg")
    if not drawn.exists():
        return False
    text = drawn.read_text(encoding="utf-8")
    spec = tomllib.loads(path.read_text(encoding="utf-8"))
    if spec.get("kind") == "terminal":
        return record.is_current(text, spec, root, run)
    if spec.get("kind") == "lines":
        return _stamp(spec, _points(spec, root)) in text
    return text == render(path, root)


def _state(spec: dict[str, Any]) -> str:
    panels = [_panel(panel) for panel in spec["panel"]]
    return drawing.draw(spec["title"], panels, spec.get("legend", True), spec.get("names"))


def _panel(panel: dict[str, Any]) -> drawing.Panel:
    _known("panel", panel, _PANEL)
    if "trace" in panel:
        return drawing.Panel(panel.get("title", ""), [_trace_row(**panel["trace"])])
    rows = []
    for row in panel["row"]:
        _known("row", row, _ROW)
        brackets = [(int(a), int(b), str(text)) for a, b, text in row.get("brackets", [])]
        rows.append(drawing.Row(**{"label": "", **row, "brackets": brackets}))
    return drawing.Panel(panel.get("title", ""), rows)


def _known(what: str, given: dict[str, Any], known: set[str]) -> None:
    if unknown := set(given) - known:
        raise UserError(f"{what} has no {sorted(unknown)[0]!r}; it has {', '.join(sorted(known))}")


def _trace_row(
    stage: int, request: str, step: int, places: int, label: str = "K, V", first: str = "c"
) -> drawing.Row:
    """What is where after a request's step number `step` (from 1): written now, kept from before, or free.

    first: where nothing is kept, the mark of a token that has not been through the model before.
    """
    scenario, steps = _trace(stage)
    parts = [part for one in steps for part in one.parts if part.request == request]
    if not 1 <= step <= len(parts):
        raise UserError(
            f"trace: request {request} has steps 1 to {len(parts)} in stage {stage:02d}, not {step}"
        )
    cells, marks = [""] * places, ["f"] * places
    for number, part in enumerate(parts[:step], 1):
        kept = part.places
        spots = [at[-1] if at else 0 for at in kept] if kept is not None else part.positions
        if kept is None and number < step:
            continue  # thrown away long ago
        for spot, token in zip(spots, part.tokens, strict=True):
            if spot >= places:
                raise UserError(f"trace: place {spot} does not fit {places} places")
            cells[spot] = piece(scenario.text([token]))
            if kept is not None:
                marks[spot] = "w" if number == step else "r"
            else:
                marks[spot] = "c" if any(spot in one.positions for one in parts[: number - 1]) else first
    return drawing.Row(label, cells, "".join(marks), [str(i) for i in range(places)])


@cache
def _trace(stage: int) -> tuple[Any, list[Any]]:
    from common.tutorial.chain import find_stage
    from common.tutorial.learner import trace
    from common.tutorial.learner.tracing import drive, scenario

    example = scenario.shipped()
    return example, drive.run(trace.engine_of(find_stage(stage)), example)


def _points(spec: dict[str, Any], root: Path) -> list[list[tuple[float, float]]]:
    """(x, y) of each line, from the recorded result."""
    from common.tutorial.texts.articles.values import number

    name, machine = spec["result"]
    result = load_result(name, machine, root / "benchmarks" / "results" / machine)
    found: list[list[tuple[float, float]]] = []
    for one in spec["lines"]:
        pattern = re.compile(re.sub(r"\\{\w+\\}", r"(\\d+)", re.escape(one["key"])))
        xs = sorted(int(match.group(1)) for match in map(pattern.fullmatch, result["values"]) if match)
        if not xs:
            raise UserError(
                f"no key of result {name} fits {one['key']!r}; it has {', '.join(result['values'])}"
            )
        scale = float(one.get("scale", 1))
        found.append([(float(x), scale * number(result, re.sub(r"{\w+}", str(x), one["key"]))) for x in xs])
    return found


def _stamp(spec: dict[str, Any], points: Any) -> str:
    text = json.dumps([spec, points], sort_keys=True)
    return f"<!-- drawn from {hashlib.sha256(text.encode()).hexdigest()[:16]} -->"


def _lines(spec: dict[str, Any], path: Path, root: Path) -> str:
    import tempfile

    from common.bench import plots

    points = _points(spec, root)
    figure, axes = plots.new_figure(spec["title"], spec.get("xlabel", ""), spec.get("ylabel", ""))
    for one, pairs in zip(spec["lines"], points, strict=True):
        xs, ys = [x for x, _ in pairs], [y for _, y in pairs]
        plots.line(axes, xs, ys, one["label"], bool(one.get("dashed")))
    for axis in spec.get("log", []):
        if axis == "x":
            plots.powers(axes, sorted({x for pairs in points for x, _ in pairs}))
        else:
            axes.set_yscale("log")
    if not spec.get("log") or "y" not in spec["log"]:
        axes.set_ylim(bottom=0)
    plots.name_lines(axes)
    name, machine = spec["result"]
    result = load_result(name, machine, root / "benchmarks" / "results" / machine)
    hardware = result.get("machine", {})
    plots.caption(
        figure, str(hardware.get("gpu") or hardware.get("cpu") or machine), f"{machine}/{name}.json"
    )
    with tempfile.TemporaryDirectory() as folder:
        text = plots.save(figure, Path(folder) / "figure.svg").read_text(encoding="utf-8")
    return text.rstrip("\n") + f"\n{_stamp(spec, points)}\n"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m common.tutorial figures", description="draw the articles' figures"
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="some figures; all without")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when one is out of date")
    parser.add_argument("--fast", action="store_true", help="do not run the commands that are recorded")
    args = parser.parse_args(argv)
    paths = sorted(FOLDER.glob("*.toml"))
    known = {path.stem for path in paths}
    for name in args.names:
        if name not in known:
            raise UserError(
                f"figure {name!r} does not exist; there are {', '.join(sorted(known)) or 'none yet'}"
            )
    asked = [p for p in paths if not args.names or p.stem in args.names]
    stale = [p for p in asked if not is_current(p, run=not args.fast)]
    for path in stale:
        if args.check:
            print(
                f"articles/figures/{path.stem}.svg is out of date: python -m common.tutorial figures draws it"
            )
        else:
            path.with_suffix(".svg").write_text(render(path), encoding="utf-8", newline="\n")
            print(f"drew articles/figures/{path.stem}.svg")
    if not stale:
        print(f"{len(asked)} figures are current")
    return 1 if stale and args.check else 0
