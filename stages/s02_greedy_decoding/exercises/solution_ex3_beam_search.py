"""Solution of exercise 3."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor


def beam_search(
    log_probabilities: Callable[[list[int]], Tensor], prompt: Sequence[int], new: int, width: int
) -> tuple[list[int], float]:
    beams: list[tuple[list[int], float]] = [([], 0.0)]
    for _ in range(new):
        longer = []
        for tokens, score in beams:
            p = log_probabilities([*prompt, *tokens])
            best = p.topk(min(width, len(p)))  # more of one text cannot be among the best of all
            for token, gain in zip(best.indices.tolist(), best.values.tolist(), strict=True):
                longer.append(([*tokens, token], score + gain))
        beams = sorted(longer, key=lambda beam: beam[1], reverse=True)[:width]
    return beams[0]
