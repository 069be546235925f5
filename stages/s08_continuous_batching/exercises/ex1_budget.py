"""Exercise 1: give out the budget of a step.

Each request is given as the number of tokens that it still has to run: 1 if it decodes, more if its prompt is
not finished. They are in order of arrival. A step has `budget` tokens:

- requests that decode get one each, first;
- what is left goes to the prompts in order of arrival, as much as each one wants, and the last one is cut
  where the budget ends.

Fill in the function. This command checks it:

    .venv/bin/python -m pytest stages/s08_continuous_batching/exercises/test_ex1_budget.py
"""

from __future__ import annotations

from collections.abc import Sequence


def give_out(wanted: Sequence[int], budget: int) -> list[int]:
    """wanted [B], tokens that each still has to run -> [B], tokens that each runs in this step, `budget` at most in all."""
    raise NotImplementedError("decodes first, then prompts, in chunks")


def steps_to_read(prompt: int, budget: int, decoding: int) -> int:
    """How many steps a prompt takes while `decoding` other requests (fewer than `budget`) decode, and no other prompt runs."""
    raise NotImplementedError("how much of each step is left?")
