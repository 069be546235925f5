"""Checks exercise 1."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from common.loader import load_model
from common.tutorial.learner.exercises import load_exercise

exercise = load_exercise(__file__)
ROWS = [[5, 6, 7, 8], [9], [10, 11]]


def run(model, tokens, positions, mask):
    """tokens, positions [B, T], mask [B, T, T] -> hidden states [B, T, H]"""

    def attend(layer, q, k, v):
        q, k, v = (x.unflatten(0, tokens.shape).transpose(1, 2) for x in (q, k, v))
        grouped = layer.num_heads != layer.num_kv_heads
        out = F.scaled_dot_product_attention(q, k, v, mask[:, None], scale=layer.scale, enable_gqa=grouped)
        return out.transpose(1, 2).flatten(0, 1)

    return model(tokens.flatten(), positions.flatten(), attend).unflatten(0, tokens.shape)


def test_padding_is_at_the_front():
    tokens, positions, _ = exercise.left_pad(ROWS)
    assert tokens.tolist() == [[5, 6, 7, 8], [0, 0, 0, 9], [0, 0, 10, 11]]
    assert positions.tolist() == [[0, 1, 2, 3], [0, 0, 0, 0], [0, 0, 0, 1]]


def test_padding_is_seen_by_itself_alone():
    mask = exercise.left_pad(ROWS)[2]
    assert mask.dtype == torch.bool
    assert mask[2].int().tolist() == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]]
    assert torch.equal(mask[0], torch.ones(4, 4).tril().bool())


@pytest.mark.parametrize("family", ["random_gpt2", "random_llama"])
@torch.inference_mode()
def test_the_last_column_predicts_what_each_row_predicts_alone(request, family):
    model, _, _ = load_model(request.getfixturevalue(family), "cpu")
    together = run(model, *exercise.left_pad(ROWS))
    assert not together.isnan().any()
    for row, tokens in enumerate(ROWS):
        n = len(tokens)
        one = run(model, torch.tensor([tokens]), torch.arange(n)[None], torch.ones(1, n, n).tril().bool())
        torch.testing.assert_close(together[row, -1], one[0, -1], atol=1e-4, rtol=1e-4)
