"""Checks exercise 3, on texts that the engine draws."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from common.tutorial import load_stage
from common.tutorial.learner.exercises import load_exercise

exercise = load_exercise(__file__)
PROMPT = "Once upon a time there was"


def noise_of(seed):
    """What the engine of stage 05 adds to a token's logit."""
    sampler = load_stage(5).engine.sampler
    key = sampler.noise_key(sampler.SamplingParams(seed=seed))

    def noise(position, token):
        return float(sampler.gumbel(torch.tensor([[key], [position]]), torch.tensor([token]))[0, 0])

    return noise


@cache
def text(seed, temperature=1.0):
    """(prompt and output, length of the prompt)"""
    stage = load_stage(5).engine
    engine = stage.Engine.from_pretrained("storyteller-draft", stage.EngineConfig("cpu"))
    params = stage.SamplingParams(max_tokens=80, temperature=temperature, seed=seed, ignore_eos=True)
    (made,) = engine.generate([PROMPT], [params])
    return [*made.prompt_tokens, *made.tokens], len(made.prompt_tokens)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_text_shows_the_seed_that_drew_it(seed):
    tokens, prompt = text(seed)
    assert exercise.score(noise_of(seed), tokens, prompt) > 6
    assert abs(exercise.score(noise_of(seed + 10), tokens, prompt)) < 4


def test_the_prompt_is_no_evidence():
    tokens, prompt = text(1)
    high = [(i, 100.0) for i in range(prompt)]
    fake = dict(high).get
    assert abs(exercise.score(lambda i, token: fake(i, 0.5772156649), tokens, prompt)) < 1e-6


def test_the_right_seed_is_found_among_several_and_none_where_there_is_none():
    owners = {str(seed): noise_of(seed) for seed in (1, 2, 3)}
    assert [exercise.whose(owners, *text(seed)) for seed in (1, 2, 3)] == ["1", "2", "3"]
    assert exercise.whose(owners, *text(99)) is None
    assert exercise.whose({}, *text(1)) is None


def test_a_greedy_text_has_no_owner():
    owners = {str(seed): noise_of(seed) for seed in (1, 2, 3)}
    assert exercise.whose(owners, *text(1, 0.0)) is None
