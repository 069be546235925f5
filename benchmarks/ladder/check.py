"""Whether a side wrote the right tokens, by the near-tie rule of `common.equality`.

Nothing here is timed. The scores that decide about a tie come from the plain attention of the first stage.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from benchmarks.sides import Served
from common.bench.reference import plain_scores
from common.equality import Tally, assert_same_tokens, bfloat16_ulps, forgive

__all__ = ["Scores", "check"]

STEPS = 8  # between neighbouring bfloat16 numbers: what rounding in some dozens of layers adds up to
ONE_IN_16_BITS = 4  # 16 bits put many tokens on exactly the same score


class Scores:
    """tokens -> logits [N, vocab_size], row i of what follows token i. The model is made when first asked."""

    def __init__(self, load: Callable[[], Any]):
        self.load = load

    def __call__(self, tokens: Sequence[int], rows: slice = slice(-1, None)) -> Tensor:
        return plain_scores(self.load(), tokens, rows)


def check(side: Any, prompts: Sequence[Sequence[int]], served: Served, expected: Sequence[Sequence[int]],
          scores: Scores, rule: dict[str, Any], tally: Tally) -> None:  # fmt: skip
    """The tokens of a run against the reference's, as many of each as the side was asked for.

    rule: what is a near tie, as arguments of `assert_same_tokens`. {}: weights in 16 bits. There a text that has left the reference's at a tie is not begun anew
    behind it, but followed: each of its tokens must score as well as the best, within the rounding.

    Raises:
        AssertionError: at the first token that is wrong.
    """
    for at, (prompt, theirs) in enumerate(zip(prompts, expected, strict=False)):
        mine = served.tokens[at]
        theirs = theirs[: len(mine)]
        assert len(mine) == len(theirs), f"prompt {at}: {len(mine)} tokens, more than the {len(theirs)} known"
        try:
            if rule:
                _meet(side, prompt, mine, theirs, scores, rule, tally)
            else:
                _follow(prompt, mine, theirs, scores, tally)
        except AssertionError as error:
            raise AssertionError(f"prompt {at}, {error}") from None


def _meet(side: Any, prompt: Sequence[int], mine: list[int], theirs: Sequence[int], scores: Scores,
          rule: dict[str, Any], tally: Tally) -> None:  # fmt: skip
    def go_on(done: list[int]) -> Sequence[int]:
        if not done:
            return mine
        again: list[int] = side.run([[*prompt, *done]], [len(theirs) - len(done)]).tokens[0]
        return again

    assert_same_tokens(go_on, theirs, lambda i: scores([*prompt, *theirs[:i]])[0], tally=tally, **rule)


def _follow(
    prompt: Sequence[int], mine: list[int], theirs: Sequence[int], scores: Scores, tally: Tally
) -> None:
    tally.compared += len(mine)
    if mine == list(theirs):
        return
    first = next(i for i, (a, b) in enumerate(zip(mine, theirs, strict=True)) if a != b)
    rows = scores([*prompt, *mine[:-1]], slice(len(prompt) - 1, None))  # [len(mine), vocab_size]
    ties = 0
    for i in range(first, len(mine)):
        best = int(rows[i].argmax())
        if mine[i] != best:
            forgive(mine[i], best, rows[i], bfloat16_ulps(STEPS), f"token {i}")
            ties += 1
    tally.forgiven += max(ties, 1)
    allowed = -(-len(mine) // ONE_IN_16_BITS)
    assert ties <= allowed, f"{ties} near ties in {len(mine)} tokens, at most {allowed} are forgiven"
