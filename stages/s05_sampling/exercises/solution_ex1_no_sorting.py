"""Solution of exercise 1."""

from __future__ import annotations

import torch
from torch import Tensor


def top_p(chances: Tensor, p: float) -> Tensor:
    exact, bits = chances.double(), chances.view(torch.int32)
    threshold = 0
    for bit in reversed(range(31)):  # the 32nd is the sign
        higher = threshold | 1 << bit
        if float(exact[bits >= higher].sum()) >= p:
            threshold = higher  # still enough mass: the threshold may be as high as that
    above, edge = bits > threshold, bits == threshold
    if not edge.any():
        return above
    missing = p - float(exact[above].sum())
    one = float(exact[edge][0])
    needed = 1 if one == 0 else max(1, int(torch.tensor(missing / one - 1e-9, dtype=torch.float64).ceil()))
    return above | (edge & (edge.cumsum(0) <= needed))
