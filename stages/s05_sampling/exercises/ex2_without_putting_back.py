"""Exercise 2: several different tokens from one set of noise.

`argmax(logits + noise)` with Gumbel noise is a draw. And the second highest? It is a draw from what is left when the
first is taken out, the third one from what is left then, and so on: the n highest are n draws without replacement
(Vieira, 2014; Kool et al., 2019). That is how to draw several different continuations, or the candidates of a draft.

Fill in the functions. This command checks them:

    .venv/bin/python -m pytest stages/s05_sampling/exercises/test_ex2_without_putting_back.py
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def draw(logits: Tensor, noise: Tensor, n: int) -> list[int]:
    """logits [vocab], noise [vocab] (Gumbel) -> n different tokens, in the order in which they would be drawn."""
    raise NotImplementedError("draw them")


def probability(logits: Tensor, tokens: Sequence[int]) -> float:
    """How likely it is to draw exactly these tokens in exactly this order.

    The first one's probability is that of softmax. For each further one, those before it are gone, and the others share
    what they left.
    """
    raise NotImplementedError("multiply them")
