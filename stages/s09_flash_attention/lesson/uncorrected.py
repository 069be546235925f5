"""Tiles with a running maximum whose correction is left out: how far each token's attention is from the right one."""

from __future__ import annotations

import sys
from unittest.mock import patch

import torch
from torch import Tensor

from common.models import LayerInfo

from ..engine.flash import tiled_attention

SHOWN = (1, 32, 64, 65, 128, 300)
EXP = Tensor.exp


def without_correction(x: Tensor) -> Tensor:
    """exp, except that the correction, the only argument with a single column, is always 1."""
    return EXP(x) if x.shape[-1] > 1 else torch.ones_like(x)


def errors(length: int) -> Tensor:
    """[length]: the largest error of each token's attention, one head of 64, random queries, keys and values."""
    info = LayerInfo(0, 0.125, None, 1, 1, 64)
    q, k, v = torch.randn(3, 1, length, 1, 64, generator=torch.Generator().manual_seed(0))
    arguments = info, 4 * q, k.transpose(1, 2), v.transpose(1, 2), torch.arange(length)[None]
    right = tiled_attention(*arguments)
    with patch.object(Tensor, "exp", without_correction):
        wrong = tiled_attention(*arguments)
    return (wrong - right).abs().amax(dim=(0, 2, 3))


def main() -> int:
    apart = errors(max(SHOWN))
    for n in SHOWN:
        print(f"token {n:3}: {float(apart[n - 1]):.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
