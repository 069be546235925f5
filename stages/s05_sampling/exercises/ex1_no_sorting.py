"""Exercise 1: top-p without sorting.

Where a distribution is flat, thousands of tokens make up top-p, and the engine sorts the whole vocabulary to find
them. But nobody needs their order: one number is enough, the least probability that still belongs to the set. It can
be found by trying. Above a high threshold lies too little mass, above a low one enough: halve the distance, as when you
look for a word in a dictionary. A pass over the vocabulary for each try is far cheaper than sorting it, and a GPU makes
it for many rows at once.

How often must one halve? A float32 has 32 bits, and those of positive floats are ordered as their values are
(`x.view(torch.int32)`): so the threshold can be made exactly, one bit after the other.

Fill in `top_p`. `pytest stages/s05_sampling/exercises/test_ex1_no_sorting.py` checks it.
"""

from __future__ import annotations

from torch import Tensor


def top_p(chances: Tensor, p: float) -> Tensor:
    """chances [vocab] float32, adding up to 1; p in (0, 1) -> [vocab] bool: the smallest set that reaches p.

    The most probable tokens come first; of equally probable ones at the edge as many as needed, smaller ids first. No
    sort, argsort, topk or kthvalue. Add up in float64.
    """
    raise NotImplementedError("write it")
