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
    counts = exercise.give_out(wanted, budget)
    assert all(0 <= count <= want for count, want in zip(counts, wanted, strict=True))
    assert sum(counts) == min(budget, sum(wanted))
    prompts = [i for i, want in enumerate(wanted) if want > 1]
    cut = next((i for i in prompts if counts[i] < wanted[i]), None)
    assert cut is None or not any(counts[i] for i in prompts if i > cut)


def test_the_number_of_steps_agrees_with_giving_out_step_by_step():
    for prompt, budget, decoding in ((512, 64, 6), (58, 64, 6), (59, 64, 6), (5, 2, 1)):
        left, steps = prompt, 0
        while left > 0:
            left -= exercise.give_out([1] * decoding + [max(left, 2)], budget)[-1]
            steps += 1
        assert exercise.steps_to_read(prompt, budget, decoding) == steps
