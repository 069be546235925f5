"""The served model itself, run plainly: its scores tell a near tie from a mistake.

The whole sequence in one pass and no cache, so nothing that an engine does to be fast is in here. Too slow to generate
with; it is asked only where two outputs differ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from common.bench.reference import plain_scores
from common.equality import near_tie_rule
from common.models import Model
from common.tokenizer import Tokenizer

__all__ = ["Reference"]


class Reference:
    def __init__(self, model: Model, tokenizer: Tokenizer | None):
        self.model, self.tokenizer = model, tokenizer
        self.device, self.dtype = model.device, model.dtype

    @property
    def rule(self) -> dict[str, Any]:
        """What `assert_same_tokens` forgives."""
        return near_tie_rule(self.dtype)

    def scores(self, tokens: Sequence[int]) -> Tensor:
        """The scores [vocab_size] that the token after `tokens` is chosen from."""
        return plain_scores(self.model, tokens)[0]

    def follow(self, prompt: Sequence[int], text: str, count: int) -> list[int]:
        """The `count` tokens behind `prompt` that a greedy server wrote as `text`.

        The model's own choice at each place; where several are near ties, the one that the text shows.

        Raises:
            AssertionError: where the text leaves the model's path, with the place.
        """
        assert self.tokenizer is not None, "text can be followed only with a tokenizer"
        limit = self.rule["tolerance"]
        tokens: list[int] = []
        for i in range(count):
            scores = self.scores([*prompt, *tokens])
            best = float(scores.max())
            near = (scores >= best - _limit(limit, best)).nonzero()[:, 0]
            near = near[scores[near].argsort(descending=True)]
            fits = [t for t in near.tolist() if self._fits([*tokens, t], text)]
            assert fits, (
                f"token {i}: the text goes on with {text[len(self._text(tokens)) :][:20]!r}, "
                f"the model with {self._text([*tokens, int(near[0])])[len(self._text(tokens)) :][:20]!r}"
            )
            tokens.append(fits[0])
        return tokens

    def _text(self, tokens: Sequence[int]) -> str:
        """Without the replacement characters of half a character at the end."""
        return self.tokenizer.decode(tokens).rstrip("\ufffd")  # type: ignore[union-attr]

    def _fits(self, tokens: Sequence[int], text: str) -> bool:
        return text.startswith(self._text(tokens))


def _limit(tolerance: float | Callable[[float], float], best: float) -> float:
    return tolerance(best) if callable(tolerance) else tolerance
