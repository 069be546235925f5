"""Checks exercise 2."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from common.tutorial.learner.exercises import load_exercise

exercise = load_exercise(__file__)


def test_a_decode_a_chunk_and_a_whole_prompt_follow_each_other():
    texts = [[10, 11, 12], [20, 21, 22, 23, 24], [30, 31]]
    flat = exercise.flatten(texts, [2, 1, 0], [1, 2, 2])
    assert flat.tokens == [12, 21, 22, 30, 31]
    assert flat.positions == [2, 1, 2, 0, 1]
    assert flat.cu_seqlens_q == [0, 1, 3, 5]
    assert flat.logits_indices == [0, 4]  # the second prompt is not finished


def test_a_step_of_chunks_alone_draws_nothing():
    assert exercise.flatten([[1, 2, 3]], [0], [2]).logits_indices == []


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 8), st.integers(1, 9)), max_size=6))
def test_every_token_can_be_found_again(plans):
    plans = [(n, min(start, n - 1), min(count, n - min(start, n - 1))) for n, start, count in plans]
    texts = [[100 * i + p for p in range(n)] for i, (n, _, _) in enumerate(plans)]
    flat = exercise.flatten(texts, [p[1] for p in plans], [p[2] for p in plans])
    assert len(flat.cu_seqlens_q) == len(plans) + 1
    for i, (_, start, count) in enumerate(plans):
        mine = slice(flat.cu_seqlens_q[i], flat.cu_seqlens_q[i + 1])
        assert flat.positions[mine] == list(range(start, start + count))
        assert flat.tokens[mine] == [100 * i + p for p in flat.positions[mine]]
    drawing = [
        flat.cu_seqlens_q[i + 1] - 1 for i, (n, start, count) in enumerate(plans) if start + count == n
    ]
    assert flat.logits_indices == drawing
