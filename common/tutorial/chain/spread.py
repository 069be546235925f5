"""How far recorded samples spread: whether a difference is more than noise, and between which values a result lies.

A result file keeps the samples of every number. Two numbers of one run whose samples do not tell them apart are
shown as equal, `=`; an answer that some of the samples would give is not wrong.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path

from common.bench.results import load_result
from common.errors import UserError
from common.tutorial.chain import ROOT
from common.tutorial.chain.claims import Lookup, Value, evaluate, evaluate_number

__all__ = ["NOISE", "Samples", "keys_of", "no_difference", "possible_values", "recorded_samples"]

Key = tuple[str, str, str]  # name of the result, machine, key
Samples = Callable[[str, str, str], Sequence[float]]
NOISE = 0.05  # a share: less than this is not a difference on a machine that does other things too
TAIL = 0.05  # samples below and above are left out as accidents
MOST_KEYS = 6  # of one expression; each doubles the number of values to compute


def recorded_samples(root: Path = ROOT, folder: str = "benchmarks/results/{machine}") -> Samples:
    """The samples of a recorded key, none where only its value was recorded. folder: below `root`."""

    def lookup(name: str, machine: str, key: str) -> Sequence[float]:
        result = load_result(name, machine, root / folder.format(machine=machine))
        found: list[float] = result["values"].get(key, {}).get("samples", [])
        return found

    return lookup


def keys_of(expression: str) -> list[Key]:
    """Every `r(name, machine, key)` in an expression, each once."""
    found: dict[Key, None] = {}
    for node in ast.walk(ast.parse(expression.strip(), mode="eval")):
        match node:
            case ast.Call(
                ast.Name("r"), [ast.Constant(str(name)), ast.Constant(str(machine)), ast.Constant(str(key))]
            ):
                found[name, machine, key] = None
    return list(found)


def no_difference(before: str, after: str, r: Lookup, samples: Samples) -> bool:
    """Whether two expressions of one run give the same, as far as can be measured.

    They do where they are within NOISE, or where the middle half of the samples' differences includes none. Samples
    are taken in turns, so the i-th of both sides belong together. Raises UserError for numbers that do not exist.
    """
    numbers = [evaluate_number(expression, r) for expression in (before, after)]
    if abs(numbers[0] - numbers[1]) <= NOISE * max(map(abs, numbers)):
        return True
    keys = [keys_of(expression) for expression in (before, after)]
    if any(len(found) != 1 for found in keys):
        return False
    a, b = (samples(*found[0]) for found in keys)
    if not a or not b:
        return False
    if len(a) == len(b):
        differences = [y - x for x, y in zip(a, b, strict=True)]
        return quantile(differences, 0.25) <= 0 <= quantile(differences, 0.75)
    return quantile(a, 0.25) <= quantile(b, 0.75) and quantile(b, 0.25) <= quantile(a, 0.75)


def possible_values(expression: str, r: Lookup, samples: Samples) -> list[Value]:
    """What an expression gives with the recorded values, and with each key at the ends of its samples' spread."""
    value = evaluate(expression, r)
    ends: dict[Key, tuple[float, float]] = {}
    for key in keys_of(expression):
        taken = samples(*key) if "." not in key[2] else ()
        if taken and len(ends) < MOST_KEYS:
            ends[key] = quantile(taken, TAIL), quantile(taken, 1 - TAIL)
    values = [value]
    for corner in product(*ends.values()):
        chosen = dict(zip(ends, corner, strict=True))
        try:
            values.append(evaluate(expression, lambda *key: chosen[key] if key in chosen else r(*key)))  # noqa: B023
        except UserError:  # a quotient by a sample that is zero
            continue
    return values


def quantile(values: Sequence[float], share: float) -> float:
    """Linear between the sorted values, as `common.bench.timing.percentiles` has it."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])
