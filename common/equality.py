"""What "the same tokens" means: one rule for tests and benchmarks, and the counting of what it forgives.

Matrix products of different row counts round differently, so two correct engines agree in tokens and not in bits.
Where the reference's best scores are closer than rounding, either token is right; the comparison then goes on from the
reference's token, so that everything behind a tie is checked too. Knows no models: scores come through a function.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

__all__ = ["NEAR_TIE", "Tally", "assert_same_tokens", "bfloat16_ulps"]

NEAR_TIE = 1e-4  # in scores (logits, or logits plus noise) of order ten; float32 rounds them to about 1e-5
ONE_IN = 500

Tokens = Sequence[int]
Continue = Callable[[list[int]], Tokens]


@dataclass(slots=True)
class Tally:
    """What was compared; give one to several calls and the limit holds for all of them together."""

    compared: int = 0
    forgiven: int = 0

    def __str__(self) -> str:
        return f"{self.compared:,} tokens equal, {self.forgiven} of them near ties"


def assert_same_tokens(
    ours: Tokens | Continue,
    reference: Tokens,
    logits_at: Callable[[int], Tensor],
    *,
    tolerance: float | Callable[[float], float] = NEAR_TIE,
    one_in: int = ONE_IN,
    tally: Tally | None = None,
) -> Tally:
    """Compares generated tokens by the near-tie rule.

    A differing token is forgiven only where the reference's own scores put it within `tolerance` of the best. The
    comparison then goes on with the reference's token.

    Args:
        ours: the tokens; or a function from the reference's first i tokens to ours from there on, which
            is what going on behind a tie takes. It is called with [] first.
        reference: the tokens to meet, the prompt not among them.
        logits_at: i -> the scores [vocab_size] that the reference chose its token i from.
        tolerance: a difference of scores, or a function of the best score that gives one.
        one_in: of so many tokens, begun ones included, one may be forgiven.
        tally: counts on from earlier calls.

    Returns:
        the tally: how many were compared, how many forgiven.

    Raises:
        AssertionError: at the first token that differs for good, with both tokens and their scores.
    """
    tally = tally or Tally()
    here = ours if callable(ours) else None
    tokens, start, done = list(here([]) if here else ours), 0, 0  # type: ignore[arg-type]
    while (at := first_difference(tokens, reference[start:])) is not None:
        done = start + at
        assert at < len(tokens), f"token {done}: ours end, the reference goes on with {reference[done]}"
        assert done < len(reference), f"token {done}: ours go on with {tokens[at]}, the reference ends"
        forgive(tokens[at], reference[done], logits_at(done), tolerance, f"token {done}")
        tally.forgiven += 1
        start = done + 1
        if start == len(reference) and len(tokens) == at + 1:
            break  # the tie was the last token: nothing is left to go on with
        assert here, f"token {done} is a near tie: to go on behind it, give `ours` as a function"
        tokens = list(here(list(reference[:start])))
    tally.compared += len(reference)
    allowed = math.ceil(tally.compared / one_in)
    assert tally.forgiven <= allowed, (
        f"{tally.forgiven} near ties in {tally.compared} tokens, at most {allowed} are forgiven"
    )
    return tally


def first_difference(a: Tokens, b: Tokens) -> int | None:
    """Index of the first place where a and b differ, or where one of them ends; None where they are equal."""
    for i, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return i
    return None if len(a) == len(b) else min(len(a), len(b))


def forgive(
    ours: int, theirs: int, scores: Tensor, tolerance: float | Callable[[float], float], where: str
) -> None:
    """Raises AssertionError unless `ours` scores as well as the best, within the tolerance."""
    best, score = float(scores.max()), float(scores[ours])
    limit = tolerance(best) if callable(tolerance) else tolerance
    assert best - score <= limit, (
        f"{where}: {ours} instead of {theirs}; the reference gives ours {score:.6f} and its best {best:.6f}, "
        f"{best - score:.2g} apart where {limit:.2g} would be a tie"
    )


def bfloat16_ulps(count: int) -> Callable[[float], float]:
    """A tolerance of `count` steps between neighbouring bfloat16 numbers at the size of the best score.

    bfloat16 keeps 8 bits of a number: neighbours between 2 and 4 lie 2**-6 apart.
    """
    return lambda best: count * 2.0 ** (math.floor(math.log2(max(abs(best), 2.0**-126))) - 7)
