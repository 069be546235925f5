"""Exercise 1: top-p without sorting.

The engine sorts the whole vocabulary to find the tokens of top-p. But their order does not matter: one number is
enough, the lowest probability that still belongs to the set. You can find it by trying. Above a high threshold there is
too little mass, above a low one enough: halve the distance each time, as when you look up a word in a dictionary. One
try is one pass over the vocabulary, and a GPU makes it for many rows at once.

How many times must you halve? A float32 has 32 bits, and the bits of positive floats are ordered as the floats are
(`x.view(torch.int32)`). So you can make the threshold exactly, one bit after the other.

Fill in `top_p`. This command checks it:

    .venv/bin/python -m pytest stages/s05_sampling/exercises/test_ex1_no_sorting.py
"""

from __future__ import annotations

from torch import Tensor


def top_p(chances: Tensor, p: float) -> Tensor:
    """chances [vocab] float32, adding up to 1; p in (0, 1) -> [vocab] bool: the smallest set that reaches p.

    The most probable tokens come first; of equally probable ones at the edge as many as needed, smaller ids first. No
    sort, argsort, topk or kthvalue. Add up in float64.
    """
    raise NotImplementedError("write it")
