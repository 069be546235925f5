"""Answers to a stage's questions: what is offered, and which of it a result makes right.

A result makes every answer right that its samples allow; a question for which that is more than one is not a stable
question, and `verify` says so. Asking is for the learner's `predict`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from common.errors import UserError
from common.tutorial.chain.claims import Lookup, Value
from common.tutorial.chain.manifest import Prediction
from common.tutorial.chain.spread import Samples, possible_values

__all__ = ["is_right", "offered", "right_answer", "right_answers", "values"]


def offered(item: Prediction) -> tuple[Value, ...]:
    """The answers to choose from; none where a number is asked for."""
    if not item.bounds:
        return item.choices
    edges, unit = [f"{edge:g}" for edge in item.bounds], f" {item.unit}".rstrip()
    between = [f"{low} to {high}{unit}" for low, high in pairwise(edges)]
    return (f"below {edges[0]}{unit}", *between, f"over {edges[-1]}{unit}")


def right_answer(item: Prediction, value: Value) -> Value:
    """What would have been right: one of those offered, or the value itself."""
    if item.bounds and not isinstance(value, str):
        return offered(item)[sum(value > edge for edge in item.bounds)]
    if not item.choices or isinstance(value, str):
        return value
    return min(item.choices, key=lambda choice: _distance(float(choice), float(value)))


def _distance(choice: float, value: float) -> float:
    """By ratio where both are positive: 2 is as far from 4 as 8 is."""
    return abs(math.log(choice / value)) if choice > 0 and value > 0 else abs(choice - value)


def right_answers(item: Prediction, values: Sequence[Value]) -> set[Value]:
    """Every offered answer from the one for the lowest to the one for the highest of `values`."""
    every = offered(item)
    found = {right_answer(item, value) for value in values}
    if not every or not found <= set(every):
        return found
    places = [every.index(one) for one in found]
    return set(every[min(places) : max(places) + 1]) if not isinstance(values[0], str) else found


def is_right(item: Prediction, answer: Value, values: Sequence[Value]) -> bool:
    """Whether `answer` fits one of the values that a result allows."""
    if offered(item) or isinstance(answer, str) or isinstance(values[0], str):
        return answer in right_answers(item, values)
    numbers = [float(value) for value in values]
    slack = [item.tolerance * abs(number) + 1e-12 for number in numbers]
    low = min(number - more for number, more in zip(numbers, slack, strict=True))
    return low <= answer <= max(number + more for number, more in zip(numbers, slack, strict=True))


def values(item: Prediction, lookup: Lookup, samples: Samples) -> list[Value]:
    """The recorded value first, then what its samples allow; nothing where there is no result."""
    try:
        return possible_values(item.answer, lookup, samples)
    except UserError:
        return []
