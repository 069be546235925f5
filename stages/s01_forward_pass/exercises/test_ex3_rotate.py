"""Checks exercise 3."""

from __future__ import annotations

import numpy as np

from common.tutorial.learner.exercises import load_exercise

exercise = load_exercise(__file__)


def test_position_zero_turns_nothing():
    x = np.random.default_rng(0).normal(size=(2, 8))
    np.testing.assert_allclose(exercise.rotate(x, np.array([0, 0])), x)


def test_the_first_pair_turns_by_one_radian_per_position():
    turned = exercise.rotate(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([1, 2]))
    np.testing.assert_allclose(turned, [[np.cos(1), np.sin(1)], [-np.sin(2), np.cos(2)]])


def test_later_pairs_turn_more_slowly():
    turned = exercise.rotate(np.array([[1.0, 1.0, 0.0, 0.0]]), np.array([3]), theta=100.0)
    np.testing.assert_allclose(turned, [[np.cos(3.0), np.cos(0.3), np.sin(3.0), np.sin(0.3)]])


def test_lengths_do_not_change():
    x = np.random.default_rng(1).normal(size=(5, 16))
    turned = exercise.rotate(x, np.arange(5) * 7)
    np.testing.assert_allclose(np.linalg.norm(turned, axis=1), np.linalg.norm(x, axis=1))
    assert not np.allclose(turned[1:], x[1:])


def test_scores_depend_on_distance_alone():
    q, k = np.random.default_rng(2).normal(size=(2, 1, 16))
    near = exercise.rotate(q, np.array([5])) @ exercise.rotate(k, np.array([2])).T
    far = exercise.rotate(q, np.array([905])) @ exercise.rotate(k, np.array([902])).T
    other = exercise.rotate(q, np.array([9])) @ exercise.rotate(k, np.array([2])).T
    np.testing.assert_allclose(near, far)
    assert not np.allclose(near, other)
