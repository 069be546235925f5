"""Checks exercise 1."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from common.tutorial.learner.exercises import load_exercise

exercise = load_exercise(__file__)


def test_decodes_come_first_and_the_last_prompt_is_cut():
    assert exercise.give_out([1, 20, 1, 9, 30], 32) == [1, 20, 1, 9, 1]
    assert exercise.give_out([20, 1], 8) == [7, 1]
    assert exercise.give_out([1, 1, 1], 2) == [1, 1, 0]
    assert exercise.give_out([], 8) == []


@given(st.lists(st.integers(1, 50), max_size=12), st.integers(1, 64))
def test_nothing_is_wasted_and_nothing_exceeded(wanted, budget):
    shares = exercise.give_out(wanted, budget)
    assert all(0 <= share <= want for share, want in zip(shares, wanted, strict=True))
    assert sum(shares) == min(budget, sum(wanted))
    prompts = [i for i, want in enumerate(wanted) if want > 1]
    cut = next((i for i in prompts if shares[i] < wanted[i]), None)
    assert cut is None or not any(shares[i] for i in prompts if i > cut)


def test_the_steps_that_a_prompt_takes_are_those_that_giving_out_makes():
    for prompt, budget, decoding in ((512, 64, 6), (58, 64, 6), (59, 64, 6), (5, 2, 1)):
        left, steps = prompt, 0
        while left > 0:
            left -= exercise.give_out([1] * decoding + [max(left, 2)], budget)[-1]
            steps += 1
        assert exercise.steps_to_read(prompt, budget, decoding) == steps
