"""Checks exercise 1."""

from __future__ import annotations

import torch

from common.tutorial.learner.exercises import load_exercise

exercise = load_exercise(__file__)


def numbers(tokens, first=0):
    """[N, 2, 3], every number its own."""
    return torch.arange(6.0 * first, 6.0 * (first + tokens)).view(tokens, 2, 3)


def test_a_prompt_comes_back_head_by_head():
    cache = exercise.LayerCache(2, 8, 3)
    k, v = cache.write(0, numbers(4), -numbers(4))
    assert torch.equal(k, numbers(4).transpose(0, 1))
    assert torch.equal(v, -numbers(4).transpose(0, 1))


def test_each_new_token_is_written_after_the_earlier_ones():
    cache = exercise.LayerCache(2, 8, 3)
    cache.write(0, numbers(4), -numbers(4))
    for position in (4, 5, 6):
        k, v = cache.write(position, numbers(1, position), -numbers(1, position))
        assert torch.equal(k, numbers(position + 1).transpose(0, 1))
        assert torch.equal(v, -k)


def test_writing_from_an_earlier_slot_overwrites_and_hides_what_comes_after():
    cache = exercise.LayerCache(2, 8, 3)
    cache.write(0, numbers(6), numbers(6))
    k, _ = cache.write(2, numbers(1, 50), numbers(1, 50))
    assert torch.equal(k, torch.cat((numbers(2), numbers(1, 50))).transpose(0, 1))


def test_nothing_is_copied():
    cache = exercise.LayerCache(2, 8, 3)
    addresses = cache.k.data_ptr(), cache.v.data_ptr()
    for position in range(3):
        k, v = cache.write(position, numbers(1), numbers(1))
        assert (k.data_ptr(), v.data_ptr()) == addresses
