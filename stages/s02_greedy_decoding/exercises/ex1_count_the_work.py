"""Exercise 1: how much work is one text?

Our loop sends the whole text through the model for every token it adds. After a prompt of P tokens, the first new
token costs P tokens' worth of work, the second P + 1, and so on. Both functions have closed forms: no loop is needed.

`.venv/bin/python -m pytest stages/s02_greedy_decoding/exercises/test_ex1_count_the_work.py` checks them against the engine, counted.
"""

from __future__ import annotations


def tokens_computed(prompt: int, new: int) -> int:
    """Tokens that go through the model to add `new` tokens (at least one) to a prompt of `prompt`."""
    raise NotImplementedError("write tokens_computed")


def tokens_repeated(prompt: int, new: int) -> int:
    """How many of those had been through the model before, at the same position.

    For 4 and 3: the passes have 4, 5 and 6 tokens; 4 of the second and 5 of the third are repeats.
    """
    raise NotImplementedError("write tokens_repeated")
