"""Exercise 2: a way out of the loop.

Greedy decoding repeats itself because the likeliest continuation of a repetition is another repetition. One cure is to
forbid it: no n tokens in a row may occur in the text twice. `no_repeat_ngram_size` is its name in transformers.

Take the last n - 1 tokens. Wherever the same n - 1 occur earlier in the text, the token that followed them there is
forbidden here. Of the others, the likeliest is chosen.

`.venv/bin/python -m pytest stages/s02_greedy_decoding/exercises/test_ex2_out_of_the_loop.py` checks your function.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


def forbidden(tokens: Sequence[int], n: int) -> set[int]:
    """Tokens that would complete n tokens in a row that `tokens` already contain. n = 1: each token at most once."""
    raise NotImplementedError("write forbidden")


def choose(logits: Tensor, tokens: Sequence[int], n: int) -> int:
    """The likeliest next token that is not forbidden. logits: [vocab_size], which must stay as they are."""
    raise NotImplementedError("write choose")
