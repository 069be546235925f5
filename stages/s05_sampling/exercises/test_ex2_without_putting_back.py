"""Checks exercise 2."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import pytest
import torch

from common.tutorial.learner.exercises import load_exercise

exercise = load_exercise(__file__)
LOGITS = torch.tensor([1.2, 0.3, 0.0, -0.5, -2.0])


def noises(count):
    uniform = torch.rand(count, len(LOGITS), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return -torch.log(-torch.log(uniform))


def test_the_first_is_the_usual_draw_and_all_are_different():
    for noise in noises(200):
        drawn = exercise.draw(LOGITS, noise, 4)
        assert drawn[0] == int((LOGITS + noise).argmax())
        assert len(set(drawn)) == 4


def test_fewer_draws_are_the_beginning_of_more():
    for noise in noises(50):
        assert exercise.draw(LOGITS, noise, 5)[:2] == exercise.draw(LOGITS, noise, 2)


def test_probabilities_of_all_orders_add_up_to_one():
    for n in (1, 2, 5):
        every = permutations(range(len(LOGITS)), n)
        assert sum(exercise.probability(LOGITS, tokens) for tokens in every) == pytest.approx(1)
    assert exercise.probability(LOGITS, [3]) == pytest.approx(float(LOGITS.softmax(-1)[3]))


def test_draws_are_as_frequent_as_they_are_likely():
    count = 8000
    seen = Counter(tuple(exercise.draw(LOGITS, noise, 2)) for noise in noises(count))
    for pair in permutations(range(len(LOGITS)), 2):
        expected = count * exercise.probability(LOGITS, pair)
        assert abs(seen[pair] - expected) <= 4.5 * expected**0.5 + 1, pair
