"""Exercise 3: the likeliest token is not the likeliest text.

A text's probability is the product of its tokens' (a sum, in logarithms). Greedy decoding takes the best token each
time, and so may miss a better text that begins with the second best. Beam search keeps the `width` best texts instead of
one: each is continued with every token, and the `width` best of all continuations are kept.

`.venv/bin/python -m pytest stages/s02_greedy_decoding/exercises/test_ex3_beam_search.py` checks your function, with our model too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor


def beam_search(
    log_probabilities: Callable[[list[int]], Tensor], prompt: Sequence[int], new: int, width: int
) -> tuple[list[int], float]:
    """The best text found, of exactly `new` tokens.

    Args:
        log_probabilities: a text's tokens -> [vocab_size], the logarithm of each next token's probability.
        prompt: at least one token.
        width: how many texts are kept at each step; 1 is greedy decoding.

    Returns:
        the new tokens, and the logarithm of their probability: the sum of the logarithms of each.
    """
    raise NotImplementedError("write beam_search")
