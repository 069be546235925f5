"""The recorded tokens are transformers' own, and they tell a wrong engine from a right one."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from common.checkpoints.reference import FAMILIES, RECORDED, references
from common.loader import load_model
from common.tutorial import load_stage
from tests.parity import record

WINDOW = 128  # Gemma 3's


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_transformers_still_writes_the_recorded_tokens(family):
    theirs = record.Family.load(family)
    for one in references(family):
        assert theirs.complete(one.prompt) == one.tokens
        assert any(theirs.tells(one.prompt, one.tokens, other) for other in (0, 1))


def test_prompts_are_of_mixed_lengths_up_to_and_past_the_sliding_window():
    for family in FAMILIES:
        lengths = [len(one.prompt) for one in references(family)]
        assert lengths == list(record.LENGTHS)
        assert {1, WINDOW - 1, WINDOW, WINDOW + 1} <= set(lengths)
        assert lengths[-1] > 2 * WINDOW
        assert any(length < WINDOW < length + record.NEW for length in lengths)  # outgrown while decoding


@pytest.mark.parametrize("off", [-1, 1])
def test_a_window_one_token_off_writes_other_tokens(off):
    model, _, _ = load_model(FAMILIES["gemma3"], "cpu", "float32")
    attend = load_stage(1).engine.CausalAttention()

    def shifted(layer, q, k, v):
        return attend(replace(layer, window=layer.window and layer.window + off), q, k, v)

    wrong = []
    for one in references("gemma3"):
        tokens = one.prompt + one.tokens
        with torch.inference_mode():
            scores = model.logits(model(torch.tensor(tokens), torch.arange(len(tokens)), shifted))
        if scores.argmax(-1)[len(one.prompt) - 1 : -1].tolist() != one.tokens:
            wrong.append(len(one.prompt))
    assert len(wrong) >= 3
    assert min(wrong) >= 110


def test_the_file_says_what_made_it():
    assert json.loads(RECORDED.read_text())["made_with"].startswith("transformers 5")
