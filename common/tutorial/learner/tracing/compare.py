"""The first place where a trace leaves the one it should equal, as one line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .recorder import Part, Step
from .show import place, ranges


def first_deviation(mine: Sequence[Step], expected: Sequence[Step]) -> str | None:
    """ "step 3, request B: position 5, expected 4"; None where the traces agree. Steps count from 1."""
    for number, (step, wanted) in enumerate(zip(mine, expected, strict=False), 1):
        if difference := _step(step, wanted):
            return f"step {number}, {difference}"
    if len(mine) < len(expected):
        part = expected[len(mine)].parts[0]
        where = f"request {part.request}: nothing ran, expected position {ranges(part.positions)}"
        return f"step {len(mine) + 1}, {where}"
    if len(mine) > len(expected):
        part = mine[len(expected)].parts[0]
        where = f"request {part.request}: ran position {ranges(part.positions)}, expected no further step"
        return f"step {len(expected) + 1}, {where}"
    return None


def _step(mine: Step, wanted: Step) -> str | None:
    ran, should = [part.request for part in mine.parts], [part.request for part in wanted.parts]
    for name in should:
        if name not in ran:
            return (
                f"request {name}: did not run; {' '.join(ran) or 'nothing'} ran, expected {' '.join(should)}"
            )
    for part in mine.parts:
        other = wanted.part(part.request)
        if other is None:
            return f"request {part.request}: ran, expected only {' '.join(should)}"
        if difference := _part(part, other):
            return f"request {part.request}: {difference}"
    return None


def _part(mine: Part, wanted: Part) -> str | None:
    """Counts first: a restarted text shows as such, not as a wrong first token."""
    if len(mine.tokens) != len(wanted.tokens):
        given = f"{len(mine.tokens)} tokens in (position {ranges(mine.positions)})"
        return f"{given}, expected {len(wanted.tokens)} (position {ranges(wanted.positions)})"
    for name, values, others in (
        ("position", mine.positions, wanted.positions),
        ("token in", mine.tokens, wanted.tokens),
        ("K and V at place", _places(mine), _places(wanted)),
        ("logits of row", mine.rows, wanted.rows),
        ("token out", mine.out, wanted.out),
    ):
        if difference := _values(name, values, others):
            return difference
    return None


def _places(part: Part) -> list[Any]:
    return ["nowhere"] * len(part.tokens) if part.places is None else [place(at) for at in part.places]


def _values(name: str, mine: Sequence[Any], wanted: Sequence[Any]) -> str | None:
    for value, other in zip(mine, wanted, strict=False):
        if value != other:
            return f"{name} {value}, expected {other}"
    if len(mine) != len(wanted):
        return f"{name} {ranges(mine) or 'none'}, expected {ranges(wanted) or 'none'}"
    return None
