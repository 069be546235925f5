"""Checks exercise 3."""

from __future__ import annotations

import pytest

from common.bench.shapes import PUBLISHED
from common.tutorial.learner.exercises import load_exercise

exercise = load_exercise(__file__)
GPT2_XL = {"num_hidden_layers": 48, "num_attention_heads": 25, "hidden_size": 1600}
GEMMA = PUBLISHED["gemma-3-1b"] | {
    "layer_types": ["full_attention" if (i + 1) % 6 == 0 else "sliding_attention" for i in range(26)]
}


@pytest.mark.parametrize(
    ("config", "itemsize", "expected"),
    [
        (GPT2_XL, 4, 2 * 48 * 25 * 64 * 4),
        (PUBLISHED["llama-3.1-8b"], 2, 131_072),  # 128 KiB
        (PUBLISHED["qwen3-0.6b"], 2, 2 * 28 * 8 * 128 * 2),  # its heads are wider than hidden_size / heads
        (GEMMA, 1, 2 * 26 * 1 * 256),
    ],
)
def test_bytes_per_token(config, itemsize, expected):
    assert exercise.bytes_per_token(config, itemsize) == expected


def test_the_cache_of_a_long_text_is_as_large_as_an_8b_models_weights():
    assert exercise.cache_bytes(PUBLISHED["llama-3.1-8b"], 131_072, 2) == 2**34  # 16 GiB


@pytest.mark.parametrize(
    ("tokens", "expected"), [(100, 26 * 100), (512, 26 * 512), (8192, 22 * 512 + 4 * 8192)]
)
def test_windows_keep_what_they_see(tokens, expected):
    assert exercise.cache_bytes(GEMMA, tokens, 2) == expected * 2 * 256 * 2


def test_the_longest_text_fits_and_one_token_more_does_not():
    config, budget = PUBLISHED["llama-3.2-1b"], 10**9
    tokens = exercise.tokens_that_fit(config, budget, 2)
    assert exercise.cache_bytes(config, tokens, 2) <= budget < exercise.cache_bytes(config, tokens + 1, 2)
