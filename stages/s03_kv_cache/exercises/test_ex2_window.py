"""Checks exercise 2."""

from __future__ import annotations

import pytest
import torch

from common.tutorial.learner.exercises import load_exercise

exercise = load_exercise(__file__)
HEADS, DIM = 2, 3


def text(count):
    """k, v [count, HEADS, DIM] of a whole text."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, count, HEADS, DIM, generator=generator).unbind()


def attend(q, k, v):
    """q [HEADS, 1, DIM], k and v [HEADS, T, DIM]: all of T is visible."""
    return torch.nn.functional.scaled_dot_product_attention(q, k, v)


@pytest.mark.parametrize("steps", [[1] * 11, [3, 1, 1, 1], [4, 1, 1], [9, 1, 1, 1, 1, 1], [6], [2, 7, 1]])
def test_attention_is_the_same_as_over_the_window_of_a_whole_cache(steps):
    window, (k, v) = 4, text(20)
    cache, done = exercise.WindowCache(HEADS, window, DIM), 0
    q = torch.randn(HEADS, 1, DIM, generator=torch.Generator().manual_seed(1))
    for count in steps:
        cache.write(k[done : done + count], v[done : done + count])
        done += count
        seen = slice(max(0, done - window), done)
        expected = attend(q, k[seen].transpose(0, 1), v[seen].transpose(0, 1))
        torch.testing.assert_close(attend(q, *cache.visible()), expected)


@pytest.mark.parametrize(
    ("count", "expected"), [(0, []), (3, [0, 1, 2]), (4, [0, 1, 2, 3]), (6, [4, 5, 2, 3]), (8, [4, 5, 6, 7])]
)
def test_each_slot_names_its_position(count, expected):
    cache = exercise.WindowCache(HEADS, 4, DIM)
    k, v = text(20)
    for i in range(count):
        cache.write(k[i : i + 1], v[i : i + 1])
    assert cache.positions() == expected
    held = cache.visible()[0]
    assert all(torch.equal(held[:, slot], k[position]) for slot, position in enumerate(expected))


def test_a_long_text_takes_no_more_memory():
    cache = exercise.WindowCache(HEADS, 4, DIM)
    address, (k, v) = cache.k.data_ptr(), text(500)
    cache.write(k, v)
    assert cache.positions() == [496, 497, 498, 499]
    assert cache.k.shape == (HEADS, 4, DIM)
    assert cache.k.data_ptr() == address
