"""Checks exercise 1 against what really goes through a model."""

from __future__ import annotations

import pytest

from common.loader import build_model
from common.models import read_config
from common.tutorial import load_stage
from common.tutorial.learner.exercises import load_exercise

exercise = load_exercise(__file__)
SIZES = {"vocab_size": 40, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64}


@pytest.fixture(scope="module")
def model():
    return build_model(read_config({"model_type": "gpt2", **SIZES}))


@pytest.mark.parametrize(("prompt", "new"), [(4, 3), (1, 1), (9, 1), (1, 20), (30, 30)])
def test_the_count_is_what_the_engine_does(model, prompt, new):
    passes: list[list[int]] = []
    hook = model.embed.register_forward_hook(lambda module, inputs, out: passes.append(inputs[0].tolist()))
    list(load_stage(2).engine.generate(model, [7] * prompt, new))
    hook.remove()
    assert exercise.tokens_computed(prompt, new) == sum(map(len, passes))
    repeated = sum(len(earlier) for earlier in passes[:-1])  # each pass begins with all of the one before
    assert exercise.tokens_repeated(prompt, new) == repeated


def test_a_long_text_needs_no_loop():
    assert exercise.tokens_computed(10, 10**9) == 500_000_009_500_000_000
