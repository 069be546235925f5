"""What a model says when it is run plainly: the scores that decide whether two different tokens are a near tie.

The whole text in one pass, by the first stage's attention, without a cache: nothing that an engine does to be fast is in
here. Too slow to generate with; it is asked only where two outputs differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from common.equality import Tally, assert_same_tokens
from common.models import Model
from common.tutorial.chain import load_stage

__all__ = ["plain_scores", "require_equal"]


@torch.inference_mode()
def plain_scores(model: Model, tokens: Sequence[int], rows: slice = slice(-1, None)) -> Tensor:
    """tokens -> logits [rows, vocab_size] in float32; row i is what token i + 1 would be chosen from."""
    ids = torch.tensor(list(tokens), device=model.device)
    positions = torch.arange(len(ids), device=model.device)
    hidden = model(ids, positions, load_stage(1).engine.CausalAttention())
    return model.logits(hidden[rows]).float()


def require_equal(
    package: ModuleType,
    made: Any,
    prompt: list[int],
    mine: Sequence[int],
    theirs: Sequence[int],
    tally: Tally,
    **rule: Any,
) -> None:
    """Compare what `made`, an engine of `package`, wrote after a prompt with a reference's tokens.

    rule: as for `assert_same_tokens`. Raises AssertionError where two tokens differ, near ties aside.
    """

    def go_on(start: list[int]) -> Sequence[int]:
        if not start:
            return mine
        params = package.SamplingParams(len(theirs) - len(start), ignore_eos=True)
        tokens: list[int] = made.generate([prompt + start], params)[0].tokens
        return tokens

    def scores(i: int) -> Tensor:
        return plain_scores(made.model, [*prompt, *theirs[:i]])[0]

    assert_same_tokens(go_on, theirs, scores, tally=tally, **rule)
