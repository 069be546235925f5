"""Exercise 1: two partial results become one.

Attention over a long context can be divided among several workers. Each takes some of the keys and returns its own
weighted average and the logarithm of its sum of exponentials (the "log-sum-exp"). Two such results merge exactly, without
another look at the scores. GPU kernels for decoding depend on this.

    out_a [H, D], lse_a [H]    from keys 0 to i
    out_b [H, D], lse_b [H]    from keys i to S

Fill in the function. `.venv/bin/python -m pytest stages/s09_flash_attention/exercises/test_ex1_merge.py` checks it.
"""

from __future__ import annotations

from torch import Tensor


def merge(out_a: Tensor, lse_a: Tensor, out_b: Tensor, lse_b: Tensor) -> tuple[Tensor, Tensor]:
    """The average over all keys, [H, D], and its log-sum-exp, [H].

    Beware: lse may be several hundred, so exp(lse) overflows; and a part that sees no key has lse = -inf.
    """
    raise NotImplementedError("weight each average by its part of the whole sum")
