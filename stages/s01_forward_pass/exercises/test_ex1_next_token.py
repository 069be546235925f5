"""Checks exercise 1."""

from __future__ import annotations

import numpy as np
import pytest

from common.tutorial.learner.exercises import load_exercise

exercise = load_exercise(__file__)


def test_two_equal_scores_share_the_probability():
    np.testing.assert_allclose(exercise.softmax(np.array([3.0, 3.0])), [0.5, 0.5])


def test_a_score_larger_by_one_is_e_times_as_likely():
    p = exercise.softmax(np.array([1.0, 2.0, 0.5], dtype=np.float32))
    assert p.dtype == np.float32
    assert p[1] / p[0] == pytest.approx(np.e, rel=1e-5)
    assert p.sum() == pytest.approx(1.0, rel=1e-5)


@pytest.mark.filterwarnings("error")
def test_large_and_forbidden_scores_are_no_problem():
    p = exercise.softmax(np.array([1000.0, 999.0, -1000.0, -np.inf], dtype=np.float32))
    np.testing.assert_allclose(p, [0.7310586, 0.2689414, 0.0, 0.0], atol=1e-6)


def test_the_likeliest_come_first():
    assert exercise.top_k(np.array([0.1, 0.6, 0.3]), 2) == [(1, 0.6), (2, 0.3)]


def test_of_equals_the_lower_id_comes_first_and_few_tokens_are_all_given():
    assert exercise.top_k(np.array([0.25, 0.25, 0.25, 0.25]), 9) == [(i, 0.25) for i in range(4)]
