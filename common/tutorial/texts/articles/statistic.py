"""One statistic per comparison: a recorded difference or ratio must be that of the two numbers shown beside it.

A table may show medians while a sentence quotes the median of paired differences; both are true, and a reader who
subtracts finds a third number. What can be decided from keys and units is decided here; the cure is a directive that
computes from the keys on the page: `minus`, `ratio` or `percent`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

from common.bench.results import load_result
from common.errors import UserError

from .options import split
from .parser import Document, Problem

DERIVED = re.compile(r"(^|_)(adds|speedup|ratio|gain|cost|growth|over|vs|saves)(_|$)")
SCALES = {"us": ("time", 1e-6), "ms": ("time", 1e-3), "s": ("time", 1.0)}
PLAUSIBLE = 2.0  # further than this factor from what two numbers give, and the key is about something else
SAME = 0.03  # a share: what rounding on the page may do


@dataclass(frozen=True, slots=True)
class Shown:
    """One key of a result on the page."""

    name: str
    machine: str
    key: str
    line: int
    in_table: bool


def mismatched(document: Document, root: Path) -> Iterator[Problem]:
    """Every recorded difference or ratio in a sentence that two numbers of the same section contradict."""
    for section in _sections(document):
        for shown in section:
            if not shown.in_table and DERIVED.search(shown.key):
                beside = {
                    one.key for one in section if (one.name, one.machine) == (shown.name, shown.machine)
                }
                if found := _contradiction(shown, sorted(beside), root):
                    yield Problem(document.path, shown.line, found)


def _sections(document: Document) -> list[list[Shown]]:
    """The keys between two headings, from `r` directives and from tables of results."""
    heads = [i + 1 for i, line in enumerate(document.prose.split("\n")) if line.startswith("#")]
    sections: dict[int, list[Shown]] = {}
    for shown in _keys(document):
        sections.setdefault(sum(head <= shown.line for head in heads), []).append(shown)
    return list(sections.values())


def _keys(document: Document) -> Iterator[Shown]:
    for inline in document.inlines:
        words = inline.directive.text.split()
        if inline.directive.name == "r" and len(words) >= 3 and re.fullmatch(r"\w+", words[2]):
            yield Shown(words[0], words[1], words[2], inline.directive.line, in_table=False)
    for block in document.blocks:
        if block.directive and block.directive.name == "result":
            name, machine, _, *keys = [
                *split(block.directive, ("heads", "format", "rows")).head.split(),
                "",
                "",
                "",
            ]
            for key in filter(None, keys):
                yield Shown(name, machine, key, block.directive.line, in_table=True)


def _contradiction(shown: Shown, keys: list[str], root: Path) -> str | None:
    """What to say of a key that no two of `keys` give, though two of them seem meant; None where all is well."""
    try:
        values = load_result(shown.name, shown.machine, root / "benchmarks" / "results" / shown.machine)[
            "values"
        ]
    except UserError:
        return None  # the directive itself is reported
    if shown.key not in values:
        return None
    mine, near = values[shown.key], None
    for a, b in permutations([key for key in keys if key != shown.key and key in values], 2):
        if DERIVED.search(a) or DERIVED.search(b) or not _related(shown.key, a):
            continue
        result = _relation(mine["unit"], values[a], values[b])
        if result is None or result[1] * mine["value"] <= 0:  # of different signs, or nothing
            continue
        directive, number = result
        if abs(number - mine["value"]) <= SAME * abs(number):
            return None
        if 1 / PLAUSIBLE < mine["value"] / number < PLAUSIBLE:
            near = near or (directive, a, b, number)
    if near is None:
        return None
    directive, a, b, number = near
    return (
        f"{shown.key} ({mine['value']:.3g}) is not what {a} and {b} of this section give ({number:.3g}): "
        f"compute it, <!-- {directive} {shown.name} {shown.machine} {a} {b} -->"
    )


def _related(derived: str, key: str) -> bool:
    """Whether a difference is likely about `key`: both begin with the same word."""
    return derived.split("_")[0] == key.split("_")[0]


def _relation(unit: str, a: dict[str, Any], b: dict[str, Any]) -> tuple[str, float] | None:
    """(directive, value in `unit`) of what `a` and `b` give; None where their units do not fit."""
    kinds = [SCALES.get(entry["unit"], (entry["unit"], 1.0)) for entry in (a, b)]
    if kinds[0][0] != kinds[1][0] or not b["value"]:
        return None
    x, y = (entry["value"] * kind[1] for entry, kind in zip((a, b), kinds, strict=True))
    if unit == "%":
        return "percent", 100 * (x - y) / y
    if unit == "x":
        return "ratio", x / y
    kind, scale = SCALES.get(unit, (unit, 1.0))
    return ("minus", (x - y) / scale) if kind == kinds[0][0] else None
