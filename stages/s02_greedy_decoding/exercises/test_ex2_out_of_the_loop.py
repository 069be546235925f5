"""Checks exercise 2."""

from __future__ import annotations

import pytest
import torch

from common.tutorial.learner.exercises import load_exercise

exercise = load_exercise(__file__)


def test_what_followed_the_same_two_tokens_is_forbidden():
    assert exercise.forbidden([1, 2, 9, 4, 1, 2, 8, 1, 2], 3) == {9, 8}


def test_nothing_is_forbidden_in_a_text_that_is_too_short_or_new():
    assert exercise.forbidden([1, 2, 3, 4], 3) == set()
    assert exercise.forbidden([1, 1], 4) == set()
    assert exercise.forbidden([], 1) == set()


def test_with_n_of_one_every_token_occurs_once():
    assert exercise.forbidden([3, 5, 3], 1) == {3, 5}


def test_the_likeliest_allowed_token_is_chosen_and_the_logits_stay():
    logits = torch.tensor([0.1, 0.9, 0.8, 0.5])
    assert exercise.choose(logits, [2, 1, 2], 2) == 2
    assert exercise.choose(logits, [0, 3], 2) == 1
    assert logits.tolist() == pytest.approx([0.1, 0.9, 0.8, 0.5])


@pytest.mark.parametrize("n", [2, 3])
def test_no_n_tokens_occur_twice_in_the_text(n):
    scores = torch.randn(6, 6, generator=torch.Generator().manual_seed(1))  # a model that sees one token
    tokens = [0]
    for _ in range(25):
        tokens.append(exercise.choose(scores[tokens[-1]], tokens, n))
    runs = [tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1)]
    assert len(set(runs)) == len(runs)
