"""Exercise 2: the flat list.

A step's batch is no rectangle. Each request has a share of consecutive tokens, and all shares lie in one list, one behind the other.
Build the four lists that the model and attention need.

    texts   each request's tokens so far
    starts  how many of them are computed already
    counts  how many run in this step

Fill in the function. `pytest stages/s08_continuous_batching/exercises/test_ex2_flat.py` checks it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Flat(NamedTuple):
    tokens: list[int]  # [N]
    positions: list[int]  # [N], of each token in its own text
    cu_seqlens_q: list[int]  # [B + 1], where each request's tokens begin; the last is N
    logits_indices: list[int]  # places in the flat list behind which a token is drawn


def flatten(texts: Sequence[Sequence[int]], starts: Sequence[int], counts: Sequence[int]) -> Flat:
    raise NotImplementedError("one share behind the other; who reaches the end of its text draws")
