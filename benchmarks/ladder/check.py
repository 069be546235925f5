"""Whether a side wrote the right tokens, by the near-tie rule of `common.equality`. Nothing here is timed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.sides import Served
from common.bench.reference import plain_scores
from common.equality import Tally, assert_same_tokens, forgive

from .task import Job

__all__ = ["check"]


def check(side: Any, job: Job, served: Served, expected: Sequence[Sequence[int]], load_model: Callable[[], Any],
          rule: dict[str, Any], tally: Tally, follow: bool) -> None:  # fmt: skip
    """The tokens of a run against the reference's, as many of each as the side was asked for.

    load_model: gives the model whose scores decide about a tie; called only if there is one.
    rule: what is a near tie, as arguments of `assert_same_tokens`.
    follow: weights in 16 bits, where ties are common. A text that has left the reference's at a tie is not written again
        from there, but followed to its end: each of its tokens must score as well as the best, by the rule.

    Raises:
        AssertionError: at the first token that is wrong.
    """
    meet = _follow if follow else _meet
    for at, (prompt, theirs) in enumerate(zip(job.prompts, expected, strict=False)):
        mine = served.tokens[at]
        theirs = list(theirs[: len(mine)])
        try:
            assert len(mine) == len(theirs), f"{len(mine)} tokens, more than the {len(theirs)} known"
            if follow and mine == theirs:
                tally.compared += len(mine)
            else:
                meet(side, prompt, mine, theirs, load_model, rule, tally)
        except AssertionError as error:
            raise AssertionError(f"{job.name}, prompt {at}, {error}") from None


def _meet(side: Any, prompt: Sequence[int], mine: list[int], theirs: Sequence[int], load_model: Callable[[], Any],
          rule: dict[str, Any], tally: Tally) -> None:  # fmt: skip
    def go_on(start: list[int]) -> Sequence[int]:
        if not start:
            return mine
        again: list[int] = side.run([[*prompt, *start]], [len(theirs) - len(start)]).tokens[0]
        return again

    scores = lambda i: plain_scores(load_model(), [*prompt, *theirs[:i]])[0]  # noqa: E731
    assert_same_tokens(go_on, theirs, scores, tally=tally, **rule)


def _follow(side: Any, prompt: Sequence[int], mine: list[int], theirs: Sequence[int], load_model: Callable[[], Any],
            rule: dict[str, Any], tally: Tally) -> None:  # fmt: skip
    # [len(mine), vocab_size], row i of what our token i was chosen from
    rows = plain_scores(load_model(), [*prompt, *mine[:-1]], slice(len(prompt) - 1, None))
    first = next(i for i, (a, b) in enumerate(zip(mine, theirs, strict=True)) if a != b)
    best = rows.argmax(-1).tolist()
    ties = [i for i in range(first, len(mine)) if mine[i] != best[i]]
    for i in ties:
        forgive(mine[i], best[i], rows[i], rule["tolerance"], f"token {i}")
    tally.compared += len(mine)
    tally.forgiven += max(len(ties), 1)
    allowed = math.ceil(len(mine) / rule["one_in"])
    assert len(ties) <= allowed, (
        f"{len(ties)} near ties in {len(mine)} tokens, at most {allowed} are forgiven"
    )
