"""Checks exercise 2."""

from __future__ import annotations

import importlib
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.loader import load_model
from common.tutorial.learner.exercises import load_exercise

exercise = load_exercise(__file__)
engine = importlib.import_module(".".join(Path(__file__).resolve().parts[-4:-2]) + ".engine")


def empty(lengths, batches):
    rows = [[lengths[i] for i in batch] for batch in batches]
    return sum(len(row) * max(row) - sum(row) for row in rows)


@pytest.fixture(scope="module")
def parts(random_gpt2):
    return load_model(random_gpt2, "cpu")


def test_a_batch_of_one_wastes_nothing():
    assert exercise.padding([7], [20]) == 0


def test_prompts_and_steps_are_counted():
    assert exercise.padding([4, 1, 2], [1, 1, 1]) == 3 + 2
    assert exercise.padding([1, 1], [5, 2]) == 3


@settings(deadline=None, max_examples=10)
@given(st.lists(st.tuples(st.integers(1, 20), st.integers(1, 6)), min_size=1, max_size=5))
def test_the_count_is_the_engines(parts, sizes):
    lengths, limits = zip(*sizes, strict=True)
    made = engine.Engine(*parts, engine.EngineConfig(max_num_seqs=5, batch_wait=0))
    each = [engine.SamplingParams(limit, ignore_eos=True) for limit in limits]
    made.generate([[5] * length for length in lengths], each)
    assert exercise.padding(lengths, limits) == made.runner.num_padding


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=6, max_size=6), st.sampled_from([1, 2, 3, 6]))
def test_no_other_choice_needs_less(lengths, rows):
    chosen = exercise.choose(lengths, rows)
    assert sorted(i for batch in chosen for i in batch) == list(range(6))
    assert {len(batch) for batch in chosen} == {rows}
    best = min(
        empty(lengths, [order[at : at + rows] for at in range(0, 6, rows)])
        for order in permutations(range(6))
    )
    assert empty(lengths, chosen) == best
