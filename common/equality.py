"""What "the same tokens" means: one rule for tests and benchmarks, and the counting of what it forgives.

Matrix products of different row counts round differently, so two correct engines agree in tokens and not in bits.
Where the reference's best scores are closer than rounding, either token is right; the comparison then goes on from the
reference's token, so that everything after a tie is checked too. Nothing here knows a model: scores come from a function.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["NEAR_TIE", "Tally", "assert_same_tokens", "bfloat16_ulps", "near_tie_rule"]

NEAR_TIE = 1e-4  # in scores (logits, or logits plus noise) of order ten; float32 rounds them to about 1e-5
ONE_IN = 500
# 16 bits put many tokens on exactly the same score, so ties are common there.
ONE_IN_16_BITS = 4
# Steps between neighbouring bfloat16 numbers: what rounding in dozens of layers was seen to add up to.
STEPS_16_BITS = 8

Continue = Callable[[list[int]], Iterable[int]]


@dataclass(slots=True)
class Tally:
    """What was compared; give one to several calls and the limit holds for all of them together."""

    compared: int = 0
    forgiven: int = 0

    def __str__(self) -> str:
        near = f", {self.forgiven} of them near ties" if self.forgiven else ""
        return f"{self.compared:,} tokens equal{near}"


def assert_same_tokens(
    ours: Iterable[int] | Continue,
    reference: Sequence[int],
    logits_at: Callable[[int], Tensor],
    *,
    tolerance: float | Callable[[float], float] = NEAR_TIE,
    one_in: int = ONE_IN,
    tally: Tally | None = None,
) -> Tally:
    """Compares generated tokens by the near-tie rule.

    A differing token is forgiven only where the reference's own scores put both, ours and its own, within `tolerance` of
    the best. The comparison then goes on with the reference's token.

    Args:
        ours: the tokens, or a function from the reference's first i tokens to ours from there on, which is
            needed to go on after a tie; it is called with [] first. Read no further than needed.
        reference: the tokens to compare with, without the prompt.
        logits_at: i -> the scores [vocab_size] that the reference chose its token i from.
        tolerance: a difference of scores, or a function of the best score that gives one.
        one_in: one token in this many may be forgiven, rounded up.
        tally: counts on from earlier calls.

    Returns:
        the tally: how many were compared, how many forgiven.

    Raises:
        AssertionError: at the first token that differs for good, with both tokens and their scores.
    """
    tally = tally or Tally()
    tokens = iter(ours([]) if callable(ours) else ours)
    for i, theirs in enumerate(reference):
        token = next(tokens, None)
        assert token is not None, f"token {i}: ours end, the reference goes on with {theirs}"
        if token != theirs:
            forgive(token, theirs, logits_at(i), tolerance, f"token {i}")
            tally.forgiven += 1
            if i + 1 < len(reference):
                assert callable(ours), (
                    f"token {i} is a near tie: to go on after it, give `ours` as a function"
                )
                tokens = iter(ours(list(reference[: i + 1])))
    more = next(tokens, None)
    assert more is None, f"token {len(reference)}: ours go on with {more}, the reference ends"
    tally.compared += len(reference)
    allowed = math.ceil(tally.compared / one_in)
    assert tally.forgiven <= allowed, (
        f"{tally.forgiven} near ties in {tally.compared} tokens, at most {allowed} are forgiven"
    )
    return tally


def forgive(
    ours: int, theirs: int, scores: Tensor, tolerance: float | Callable[[float], float], where: str
) -> None:
    """Raises AssertionError unless both tokens score as well as the best, within the tolerance.

    The reference's own token is checked too. If it scores far below the best, these are not the scores that it was
    chosen from, and they might let a wrong token of ours pass.
    """
    best = float(scores.max())
    limit = tolerance(best) if callable(tolerance) else tolerance
    for token, whose in ((theirs, "its own token"), (ours, "ours")):
        score = float(scores[token])
        assert best - score <= limit, (
            f"{where}: {ours} instead of {theirs}; the reference gives {whose} {score:.6f} and its best {best:.6f}, "
            f"{best - score:.2g} apart where {limit:.2g} would be a tie"
        )


def bfloat16_ulps(count: int) -> Callable[[float], float]:
    """A tolerance of `count` steps between neighbouring bfloat16 numbers at the size of the best score.

    bfloat16 keeps 8 bits of a number: neighbours between 2 and 4 are 2**-6 apart.
    """
    return lambda best: count * 2.0 ** (math.floor(math.log2(max(abs(best), 2.0**-126))) - 7)


def near_tie_rule(dtype: str | torch.dtype) -> dict[str, Any]:
    """What counts as a near tie with weights of `dtype`, as arguments of `assert_same_tokens`.

    In 16 bits a differing token must be within eight bfloat16 steps of the best, which says little about one token and much
    about a hundred.
    """
    if str(dtype).removeprefix("torch.") == "float32":
        return {"tolerance": NEAR_TIE, "one_in": ONE_IN}
    return {"tolerance": bfloat16_ulps(STEPS_16_BITS), "one_in": ONE_IN_16_BITS}
