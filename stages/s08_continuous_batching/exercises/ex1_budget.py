"""Exercise 1: give out the budget of a step.

Requests are told by how many tokens each still has to run: 1 for one that decodes, more for one whose prompt is not through. They
are in the order of their arrival. A step has `budget` tokens:

- those that decode get one each, first;
- what is left goes to the prompts in the order of arrival, as much as each wants, the last one cut where the budget ends.

Fill in the function. `pytest stages/s08_continuous_batching/exercises/test_ex1_budget.py` checks it.
"""

from __future__ import annotations

from collections.abc import Sequence


def give_out(wanted: Sequence[int], budget: int) -> list[int]:
    """wanted [B], tokens each still has to run -> [B], tokens each runs in this step; their sum is at most `budget`."""
    raise NotImplementedError("decodes first, then prompts, in chunks")


def steps_to_read(prompt: int, budget: int, decoding: int) -> int:
    """How many steps a prompt takes while `decoding` (fewer than `budget`) others decode all the time, and nobody else reads."""
    raise NotImplementedError("how much of each step is left?")
