"""Exercise 1: padding on the left.

The engine fills short rows at the end. Many libraries fill them at the front, so that the last real token of
every row is in the last column. Then a column is no longer a position in the text, and two things go wrong
silently: positions, and which token may look at which.

Fill in `left_pad`. This command runs a model with it:

    .venv/bin/python -m pytest stages/s07_prefill_batching/exercises/test_ex1_left_padding.py
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def left_pad(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids of B rows, the longest of length T -> tokens [B, T], positions [B, T], mask [B, T, T].

    tokens: padding is 0, at the front. positions: of each token in its own text; 0 for padding. mask[b, i,
    j]: True where column i of row b may look at column j: real tokens at real ones that are not later than
    themselves. A padding token looks at itself and nothing else: softmax over nothing is NaN, and NaN
    spreads.
    """
    raise NotImplementedError("pad at the front")
