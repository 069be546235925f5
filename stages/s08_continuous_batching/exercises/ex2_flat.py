"""Exercise 2: the flat list.

A step's batch is not a rectangle. Each request runs some consecutive tokens of its text, and all of them go
into one list, end to end. Build the four lists that the model and attention need.

    texts   each request's tokens so far
    starts  how many of them are already computed
    counts  how many run in this step

Fill in the function. This command checks it:

    .venv/bin/python -m pytest stages/s08_continuous_batching/exercises/test_ex2_flat.py
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Flat(NamedTuple):
    tokens: list[int]  # [N]
    positions: list[int]  # [N], of each token in its own text
    cu_seqlens_q: list[int]  # [B + 1], where each request's tokens begin; the last is N
    logits_indices: list[int]  # indices of the flat list after which a token is drawn


def flatten(texts: Sequence[Sequence[int]], starts: Sequence[int], counts: Sequence[int]) -> Flat:
    raise NotImplementedError("end to end; a request that reaches the end of its text draws a token")
