"""Exercise 3: whose text is it?

The noise is a hash of seed, position and token, so anyone who knows the seed can recompute the noise of a text's tokens.
In a text that was drawn with this seed the tokens won, and they won because their noise was high. In any other text
their noise is average: 0.577 (Euler's constant). So each text that a server draws carries its seed like a watermark,
which costs nothing and changes no probability (Aaronson, 2022; Kuditipudi et al., 2023). Greedy tokens carry none, and
tokens that had no rival hardly any.

Fill in the functions. This command checks them:

    .venv/bin/python -m pytest stages/s05_sampling/exercises/test_ex3_whose_text.py
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

Noise = Callable[[int, int], float]  # (position, token) -> the noise that the token had there


def score(noise: Noise, tokens: Sequence[int], num_prompt_tokens: int) -> float:
    """How many standard deviations the mean noise of the drawn tokens is above what chance would give.

    tokens: prompt and output. The prompt was not drawn. The token at index i was drawn at position i. A standard Gumbel
    variable has mean 0.5772156649 and variance pi**2 / 6; the mean of n of them has a variance n times smaller.
    """
    raise NotImplementedError("take the mean of the noise, compare")


def whose(noises: Mapping[str, Noise], tokens: Sequence[int], num_prompt_tokens: int) -> str | None:
    """The name of the noise that drew the text, or None if none of them did.

    Its score must be above 4, which by chance happens to one text in 30,000. If several are, the highest.
    """
    raise NotImplementedError("score for each")
