"""Solution of exercise 3."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

Noise = Callable[[int, int], float]


def score(noise: Noise, tokens: Sequence[int], num_prompt_tokens: int) -> float:
    drawn = [noise(i, tokens[i]) for i in range(num_prompt_tokens, len(tokens))]
    mean = sum(drawn) / len(drawn)
    return (mean - 0.5772156649) / math.sqrt(math.pi**2 / 6 / len(drawn))


def whose(noises: Mapping[str, Noise], tokens: Sequence[int], num_prompt_tokens: int) -> str | None:
    scores = {name: score(noise, tokens, num_prompt_tokens) for name, noise in noises.items()}
    best = max(scores, key=lambda name: scores[name], default=None)
    return best if best is not None and scores[best] > 4 else None
