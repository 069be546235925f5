"""The served model itself, run plainly: its scores tell a near tie from a mistake.

The whole sequence in one pass and no cache, so nothing that an engine does to be fast is in here. Too slow to generate
with; it is asked only where two outputs differ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from common.equality import near_tie_rule
from common.models import LayerInfo, Model
from common.tokenizer import Tokenizer

__all__ = ["Reference"]


def attend(layer: LayerInfo, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention within a sequence: q [N, Hq, D], k and v [N, Hkv, D] -> [N, Hq, D]."""
    position = torch.arange(len(q), device=q.device)
    distance = position[:, None] - position
    mask = (distance >= 0) & (distance < (layer.window or len(q)))
    groups = layer.num_heads // layer.num_kv_heads
    k, v = (x.repeat_interleave(groups, dim=1).transpose(0, 1) for x in (k, v))
    return scaled_dot_product_attention(q.transpose(0, 1), k, v, mask, scale=layer.scale).transpose(0, 1)


class Reference:
    def __init__(self, model: Model, tokenizer: Tokenizer | None):
        self.model, self.tokenizer = model, tokenizer
        self.device, self.dtype = model.device, model.dtype

    @property
    def rule(self) -> dict[str, Any]:
        """What `assert_same_tokens` forgives."""
        return near_tie_rule(self.dtype)

    @torch.inference_mode()
    def scores(self, tokens: Sequence[int]) -> Tensor:
        """The scores [vocab_size] that the token after `tokens` is chosen from."""
        ids = torch.tensor(list(tokens), device=self.device)
        hidden = self.model(ids, torch.arange(len(ids), device=self.device), attend)
        return self.model.logits(hidden[-1:])[0].float()

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
