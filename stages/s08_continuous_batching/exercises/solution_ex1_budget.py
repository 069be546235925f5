"""Solution of exercise 1."""

from __future__ import annotations

from collections.abc import Sequence


def give_out(wanted: Sequence[int], budget: int) -> list[int]:
    given = [0] * len(wanted)
    # Stable: in the order of arrival within both kinds.
    for i in sorted(range(len(wanted)), key=lambda i: wanted[i] > 1):
        given[i] = min(wanted[i], budget)
        budget -= given[i]
    return given


def steps_to_read(prompt: int, budget: int, decoding: int) -> int:
    return -(-prompt // (budget - decoding))
