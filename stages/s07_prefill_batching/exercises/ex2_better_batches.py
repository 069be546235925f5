"""Exercise 2: the same requests, fewer wasted tokens.

The engine takes requests in order of arrival. If many are there at once and their order does not matter, you
may choose which of them share a rectangle. Count first, then choose.

This command compares your count with the engine's, and your choice with the best there is:

    .venv/bin/python -m pytest stages/s07_prefill_batching/exercises/test_ex2_better_batches.py
"""

from __future__ import annotations

from collections.abc import Sequence


def padding(lengths: Sequence[int], limits: Sequence[int]) -> int:
    """Tokens that are computed in one batch and thrown away.

    lengths: tokens of each row's prompt. limits: how many new tokens each row gets, at least one. The first
    comes from the step that reads the prompts; every later step feeds one token of each row back, until the
    last row has all its tokens.
    """
    raise NotImplementedError("the rectangle of the prompts, then the column of each step")


def choose(lengths: Sequence[int], rows: int) -> list[list[int]]:
    """Batches of `rows` requests each, as indices, so that the prompts need the least padding.

    lengths: of the prompts, as many as full batches take.
    """
    raise NotImplementedError("which requests are alike?")
