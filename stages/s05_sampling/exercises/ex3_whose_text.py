"""Exercise 3: whose text is it?

The noise is a hash of seed, position and token, so whoever knows the seed can look up, for any text, which noise its
tokens had. A text drawn with that seed has tokens that won, and they won because their noise was high. A text of
somebody else has the noise of any token: 0.577 in the mean (Euler's constant). So each text that a server draws
carries its seed like a watermark, which costs nothing and changes no probability (Aaronson, 2022; Kuditipudi et al.,
2023). Greedy tokens carry none, and tokens that had no rival hardly any.

Fill in the functions. `pytest stages/s05_sampling/exercises/test_ex3_whose_text.py` checks them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

Noise = Callable[[int, int], float]  # (position, token) -> the noise that the token had there


def score(noise: Noise, tokens: Sequence[int], num_prompt_tokens: int) -> float:
    """How many standard deviations the mean noise of the drawn tokens lies above what chance would give.

    tokens: prompt and output. The prompt was not drawn. The token at index i was drawn at position i. A standard Gumbel
    variable has mean 0.5772156649 and variance pi**2 / 6; the mean of n of them has a variance n times smaller.
    """
    raise NotImplementedError("look the noise up, take its mean, compare")


def whose(noises: Mapping[str, Noise], tokens: Sequence[int], num_prompt_tokens: int) -> str | None:
    """The name of whose noise drew the text, or None where nobody's did.

    Somebody's score must be above 4: by chance that happens to one text in 30,000. Of several, the highest.
    """
    raise NotImplementedError("score for each")
